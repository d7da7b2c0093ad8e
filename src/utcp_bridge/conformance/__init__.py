"""The UTCP conformance kit: what a client must send and return, as data, and the programs that check it.

The vectors and the adapters are data in the folder `conformance` of the project (docs/conformance.md says how they are
written). This room reads them (`vectors`), records what a client sends (`recording` and its neighbours), runs an
implementation behind its adapter (`adapters`), compares (`judging`) and reports (`report`).
"""
