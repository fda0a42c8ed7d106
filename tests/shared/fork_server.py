"""The program from which `forked.py` forks processes: `fork_server.py DESCRIPTOR`, that of a socket.

A request is one packet of JSON (`command`, `cwd`, `environ`) with the three standard streams; the answer is the number
of the new process. The server ends when the socket is closed at the other end.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import types

BEFORE = dict(os.environ)  # imports set some variables: they are set in the processes, too

import keras  # noqa: E402, F401 (for the processes)
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402, F401

SET_BY_IMPORTS = {name: value for name, value in os.environ.items() if BEFORE.get(name) != value}


def next_process(connection):
    """Answers requests, and returns in each new process, with what it was asked to be; in the server, never."""
    while True:
        packet, descriptors, _, _ = socket.recv_fds(connection, 2**20, 3)
        if not packet:
            os._exit(0)
        reader, writer = os.pipe()
        middle = os.fork()
        if not middle:
            number = os.fork()
            if not number:
                for descriptor in (reader, writer, connection.detach()):
                    os.close(descriptor)
                return json.loads(packet), descriptors
            os.write(writer, str(number).encode())
            os._exit(0)
        os.waitpid(middle, 0)  # from now on, the process has the parent that asked for it
        for descriptor in (writer, *descriptors):
            os.close(descriptor)
        connection.send(os.read(reader, 100))
        os.close(reader)


def become(request, descriptors):
    """Makes this process what one is that has just been started; returns what it is to run."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(SET_BY_IMPORTS | request["environ"])
    tempfile.tempdir = None  # depends on the environment
    np.random.seed()  # noqa: NPY002 (Python's own does so by itself)
    command = request["command"]
    sys.orig_argv = [sys.executable, *command]
    sys.argv = command[1:] if command[0] == "-m" else ["-c", *command[2:]] if command[0] == "-c" else command
    first = {"-c": "", "-m": request["cwd"]}.get(command[0], os.path.dirname(os.path.realpath(command[0])))  # noqa: PTH120
    given = [os.path.abspath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]  # noqa: PTH100
    sys.path[:] = dict.fromkeys([first, *given, *sys.path[1:]])
    return command


def run(command):
    """Runs a command line as Python does, in a new `__main__`."""
    if command[0] == "-m":
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(command[1], "<string>", "exec"), vars(main))  # noqa: S102 (that is the request)
    else:
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which closes the socket
    gc.collect()
    gc.freeze()  # what is there already is neither looked at nor copied when a process ends
    run(become(*next_process(socket.socket(fileno=int(sys.argv[1])))))
