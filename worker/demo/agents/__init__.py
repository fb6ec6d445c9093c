"""The scenarios of the made-up agents: what customers ask, which tools are called, what is answered."""
