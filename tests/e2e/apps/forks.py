"""Handlers that start processes in every way there is; with FORKS_AT_IMPORT the import does too."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from oarlock import App

app = App()
children: list = []


def _square(n: int) -> int:
    return n * n


def _stay() -> None:
    time.sleep(600)


match os.environ.get("FORKS_AT_IMPORT"):
    case "process":
        multiprocessing.get_context("fork").Process(target=_stay, daemon=True).start()
    case "fork" if os.fork() == 0:
        _stay()
    case "returns":
        os.fork()
    case "dies":
        if os.fork() == 0:
            _stay()
        os._exit(9)


@app.get("/pool", blocking=False)
def pool():
    with multiprocessing.get_context("fork").Pool(2) as workers:  # its end sends SIGTERM
        return workers.map(_square, [2, 3])


@app.get("/pool-thread", blocking=True)
def pool_in_thread():
    return pool()


@app.get("/fork/{seconds}", blocking=False)
def fork(seconds: float):
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(0)
    return pid


@app.get("/return-from-child", blocking=False)
def return_from_child():
    return os.fork()


@app.get("/return-from-child-pool", blocking=True)
def return_from_child_pool():
    return os.fork()


@app.get("/exec", blocking=False)
def execute():
    """With close_fds=False, only O_CLOEXEC keeps descriptors back."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    children.append(child)
    return child.pid


@app.get("/kill/{pid}/{sig}", blocking=False)
def kill(pid: int, sig: int):
    os.kill(pid, sig)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.get("/own-socket", blocking=False)
def own_socket():
    """What is the application's own stays with the child: number of own descriptors that work there."""
    ours, theirs = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    pid = os.fork()
    if pid == 0:
        works = 0
        for s in (theirs, listening, udp):
            try:
                os.fstat(s.fileno())
                works += 1
            except OSError:
                pass
        theirs.send(bytes([works]))
        os._exit(0)
    os.waitpid(pid, 0)
    return ours.recv(1)[0]


@app.get("/pid", blocking=False)
def pid():
    return {"pid": os.getpid(), "threads": threading.active_count(), "term": str(signal.getsignal(signal.SIGTERM))}
