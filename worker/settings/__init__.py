"""Settings: addresses and secrets from the environment, policy from spotcheck.toml."""

from worker.settings.environment import Value as Value
from worker.settings.environment import without_password as without_password
from worker.settings.settings import VARIABLES as VARIABLES
from worker.settings.settings import Settings as Settings
from worker.settings.settings import read_here as read_here
from worker.settings.settings import unknown_variables as unknown_variables
