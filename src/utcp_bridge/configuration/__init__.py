"""The operator's configuration: documents found at their places (`places`) become one configuration (`loading`)."""
