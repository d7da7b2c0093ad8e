"""One file per transport; found by scanning this package, plus entry points."""
