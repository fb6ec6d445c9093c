"""Settings: addresses and secrets from the environment, policy from spotcheck.toml."""

from worker.settings.settings import Settings as Settings
from worker.settings.settings import Value as Value
from worker.settings.settings import read_here as read_here
from worker.settings.settings import unknown_variables as unknown_variables
from worker.settings.settings import without_password as without_password
