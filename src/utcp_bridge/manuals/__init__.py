"""The way of a manual, from an entry of the configuration to live tools. Read the modules in this order:

1. `registration`  one load of a manual, step by step, and the state of every manual
2. `binding`       variables and credentials are filled in: a call template becomes a `Target`
3. `reading`       the discovered document becomes raw tools; `dialects.selection` keeps those that the operator wants
4. `building`      raw tools become live ones: policy, binding, and pinning of what was seen before
5. `repository`    the live tools, in order, with change events
6. `upkeep`        when manuals are loaded, tried again and read again
7. `registries`    manuals that a registry lists, each loaded like any other
8. `variables_needed`  which variables the call templates of a manual name, for the command line and checks
"""
