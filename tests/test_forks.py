"""A process that is forked: no lock that another thread held, no whole weights where a load was cut off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")

START = """
import os, sys, threading, numpy as np, handmade as hm
X, y = hm.data.xor()
state = hm.MLP([2, 3, 2], rng=1).state_dict()

def in_child(act):
    # Return the exit status of act in a forked process: 99 if it hangs.
    child = os.fork()
    if child == 0:
        import signal
        signal.signal(signal.SIGALRM, lambda *_: os._exit(99)); signal.alarm(20)
        try:
            os._exit(act() or 0)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

entered, leave = threading.Event(), threading.Event()
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + program],
        capture_output=True, text=True, check=False, timeout=100, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("compiled", [False, True])
def test_a_fork_during_a_backward_pass_may_go_on(compiled):
    run(
        f"compiled = {compiled}\n"
        "network = hm.MLP([2, 3, 2], rng=0)\n"
        "step = hm.compile(network, 'cross_entropy', hm.SGD()) if compiled else None\n"
        "def hold():\n"  # as a pass holds it
        "    network._gradient_writer.run(lambda: (entered.set(), leave.wait(60)))\n"
        "thread = threading.Thread(target=hold); thread.start(); entered.wait(60)\n"
        "def child():\n"
        "    loss = step(X, y) if compiled else network.loss_and_gradient(X, y)[0]\n"
        "    return not np.isfinite(loss)\n"
        "status = in_child(child)\n"
        "try: network.loss_and_gradient(X, y)\n"
        "except RuntimeError: pass\n"
        "else: sys.exit('the parent has lost its lock')\n"
        "leave.set(); thread.join(); sys.exit(status)\n"
    )


def test_a_fork_during_a_load_refuses_the_half_loaded_weights():
    run(
        "network = hm.MLP([2, 3, 2], rng=0)\n"
        "def hold():\n"  # as load_state_dict holds it
        "    with network._weights.writing(): entered.set(); leave.wait(60)\n"
        "thread = threading.Thread(target=hold); thread.start(); entered.wait(60)\n"
        "def child():\n"
        "    for predict in (network.predict, hm.compile(network).predict):\n"
        "        try: predict(X)\n"
        "        except RuntimeError as error: assert 'load them again' in str(error)\n"
        "        else: return 2\n"
        "    network.load_state_dict(state)\n"
        "    return network.predict(X).tobytes() != hm.MLP([2, 3, 2], rng=1).predict(X).tobytes()\n"
        "status = in_child(child); leave.set(); thread.join()\n"
        "network.predict(X); sys.exit(status)\n"
    )


def test_every_lock_of_the_library_is_free_in_a_fork():
    run(
        "from handmade import _threads\n"
        "networks = [hm.MLP([2, 3, 2], rng=0) for _ in range(3)]\n"
        "locks = [ref() for ref in _threads._living.valuerefs()]\n"
        "assert len(locks) == 6\n"
        "for lock in locks: lock._lock.acquire()\n"
        "status = in_child(lambda: any(lock._lock.locked() for lock in locks))\n"
        "assert all(lock._lock.locked() for lock in locks)\n"
        "del networks, locks, lock; assert not list(_threads._living.valuerefs())\n"
        "sys.exit(status)\n"
    )


def test_a_forked_process_keeps_no_checkpoint_locked(tmp_path):
    run(
        f"os.chdir({os.fspath(tmp_path)!r})\n"
        "children = []\n"
        "def fork(network, history):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        if len(history) == 1: raise SystemExit\n"  # leaves fit, and must leave the lock of the parent
        "        threading.Event().wait(60)\n"
        "        os._exit(0)\n"
        "    children.append(child)\n"
        "    if len(history) == 1:\n"
        "        os.waitpid(children.pop(), 0)\n"
        "        assert os.path.exists('run.lock')\n"
        "def train(callbacks=()):\n"
        "    hm.fit(hm.MLP([2, 3, 2], rng=0), X, y, epochs=2, rng=0, progress=False, checkpoint='run',\n"
        "           callbacks=callbacks)\n"
        "train(fork)\n"
        "assert not os.path.exists('run.lock')\n"
        "train()\n"
        "for child in children: os.kill(child, 9); os.waitpid(child, 0)\n"
    )
