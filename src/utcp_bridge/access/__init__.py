"""Access: who may call what. Principals, and what each may see and call."""
