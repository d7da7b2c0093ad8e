"""Maps of resources and prompts beside a UTCP manual: what is written, what it means, and the values that come back."""
