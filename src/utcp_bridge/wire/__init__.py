"""What several transports share; knows no transport."""
