"""The Mosquitto bridge: a plugin in C that asks the server as EMQX does, its build, and its configuration."""
