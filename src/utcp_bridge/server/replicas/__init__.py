"""`serve --workers`: several processes behind one address, and what has to reach a certain one of them.

    place.py     which process this is, and whose ids are whose
    board.py     the state of all processes, in shared memory
    replica.py   one process: it accepts, hands connections to others, and takes theirs

Each process is a whole bridge with all manuals. Ids of sessions, tasks and kept results contain the number of the
process that has them, so a request that arrives elsewhere goes there with its connection: the process hands over the
socket, and later requests on it need nothing more.
"""
