"""Files, folders and URLs become one configuration."""
