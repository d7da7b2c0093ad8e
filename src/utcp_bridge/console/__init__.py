"""The console: a page for the operator of a bridge, and the admin API beneath it (docs/console.md)."""
