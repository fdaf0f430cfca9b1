"""How cores come to life. So far: as threads of this process."""
