"""Where parts are made: in this program's own processes, or on a Dask or Ray cluster.

Every backend takes orders and gives what was made as it comes. Orders are handed out a few at a time, so that workers
that join later get theirs, and those of a worker that dies go to another.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Literal

from joblib import Parallel, delayed

from configs.errors import ClusterError, ConfigError, DataError
from data.line_process import ROOT
from data.supervise import Limits, Made, Order, end_processes, make_safely

Name = Literal["processes", "dask", "ray"]
EXTRAS = {"dask": ("distributed", "Dask"), "ray": ("ray", "Ray")}
NAMES: tuple[Name, ...] = ("processes", "dask", "ray")
AHEAD = 2  # orders handed out for each worker
LOST = 5  # times that workers may die under an order before it is their fault no more
SILENCE = 5.0  # seconds without a finished part, after which the head of a Ray cluster is looked for
KNOCKS = 5  # times, a second apart
ENDING = 10.0  # seconds for the connection to a Ray cluster to end


@dataclass(frozen=True)
class Backend:
    """Where to work.

    Attributes:
        name: `processes`, `dask` or `ray`. n_jobs: processes here; of a cluster, of the one that is started when there
            is no address. address: of a running cluster: tcp://host:8786 (Dask), host:6379 or `auto` (Ray).
    """

    name: Name = "processes"
    n_jobs: int = 1
    address: str | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"must be one of {', '.join(NAMES)}, got {self.name!r}", "--backend")
        if self.address and self.name == "processes":
            raise ConfigError("is that of a cluster", "--address", hint="--backend dask or --backend ray")
        module, product = EXTRAS.get(self.name, ("", ""))
        if module and find_spec(module) is None:
            raise ConfigError(f"needs {product}", f"--backend {self.name}", hint=f"pip install 'ligare[{self.name}]'")

    def make(self, orders: Iterable[Order]) -> Iterator[Made]:
        """Make parts; each is given as soon as it is there.

        Raises:
            ConfigError: the backend isn't installed, or no cluster at that address.
            ClusterError: the cluster went away meanwhile.
            DataError, OSError: a part can't be made or written, or workers die again and again.
        """
        yield from BACKENDS[self.name](self, orders)


def on_processes(backend: Backend, orders: Iterable[Order]) -> Iterator[Made]:
    """joblib's threads, each with a process of its own."""
    calls = (delayed(make_safely)(order, backend.limits) for order in orders)
    kind = "sequential" if backend.n_jobs == 1 else "threading"
    try:
        yield from Parallel(backend.n_jobs, backend=kind, return_as="generator_unordered")(calls)
    except BaseException:
        end_processes()
        raise


def on_dask(backend: Backend, orders: Iterable[Order]) -> Iterator[Made]:
    """Futures of a Dask cluster."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    with _dask_client(backend) as client:
        lost, waiting, running = Counter[int](), iter(orders), as_completed()
        of_future: dict[Any, Order] = {}
        at = backend.address or client.scheduler.address

        def submit(order: Order) -> None:
            future = client.submit(make_safely, order, backend.limits, pure=False)
            of_future[future] = order
            running.add(future)

        while True:
            with _dask_answers(at):
                room = AHEAD * max(1, sum(client.ncores().values())) - len(of_future)
                for order in islice(waiting, max(0, room)):
                    submit(order)
                if not of_future:
                    break
                future = next(running)
                order = of_future.pop(future)
                if future.status != "error":  # what is raised now is no error of the work
                    made = future.result()
            if future.status != "error":
                yield made
                continue
            error = future.exception()
            if isinstance(error, KilledWorker):
                with _dask_answers(at):
                    submit(_again(order, lost))
            elif isinstance(error, ModuleNotFoundError):
                raise _not_installed(error) from error
            else:
                raise error


@contextmanager
def _dask_client(backend: Backend) -> Iterator[Any]:
    """A client of the cluster at an address, or of one that is started, and ended however the work ends."""
    from distributed import Client, LocalCluster

    with ExitStack() as ends:
        try:
            cluster: Any = backend.address
            if cluster is None:
                cluster = LocalCluster(_number(backend.n_jobs), threads_per_worker=1, dashboard_address=None)
                ends.callback(cluster.close)
            client = Client(cluster, timeout=30)
        except (OSError, ValueError, RuntimeError) as failed:
            where = str(backend.address or "a local cluster")
            raise ConfigError(f"no Dask scheduler answers: {failed}", "--address", hint=where) from failed
        ends.enter_context(client)
        yield client


@contextmanager
def _dask_answers(address: str) -> Iterator[None]:
    """ClusterError for what a client raises when its scheduler is gone: which error, depends on what it was doing."""
    from asyncio import CancelledError as OfLoop
    from concurrent.futures import CancelledError as OfFuture

    try:
        yield
    except (OSError, OfLoop, OfFuture, RuntimeError) as gone:
        raise _gone("the Dask scheduler", address) from gone


def on_ray(backend: Backend, orders: Iterable[Order]) -> Iterator[Made]:
    """Tasks of a Ray cluster.

    A call that needs the head of a cluster waits for it, and Ray ends a program whose head stays away for a minute,
    without a word to it. So calls are made in a thread, and the head is looked for from here.
    """
    import ray

    try:
        given: dict[str, Any] = {}
        if backend.address is None:
            given = {"num_cpus": _number(backend.n_jobs), "include_dashboard": False}
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        ray.init(backend.address, runtime_env={"env_vars": {"PYTHONPATH": paths}}, log_to_driver=False, **given)
    except (ConnectionError, ValueError, RuntimeError) as failed:
        raise ConfigError(f"no Ray cluster answers: {failed}", "--address", hint=str(backend.address)) from failed
    unwanted = Event()
    try:
        head = _Head(backend.address, ray.get_runtime_context().gcs_address)
        yield from _watched(_ray_tasks(backend, orders, head, unwanted), head.must_answer)
    finally:
        unwanted.set()
        end = Thread(target=ray.shutdown, daemon=True)
        end.start()
        end.join(ENDING)


def _ray_tasks(backend: Backend, orders: Iterable[Order], head: "_Head", unwanted: Event) -> Iterator[Made]:
    import ray

    task = ray.remote(max_retries=LOST)(make_safely)
    waiting = iter(orders)
    running: dict[Any, Order] = {}
    while not unwanted.is_set():
        room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(running)
        for order in islice(waiting, max(0, room)):
            running[task.remote(order, backend.limits)] = order
        if not running:
            return
        ready, _ = ray.wait(list(running), timeout=SILENCE)
        for future in ready:
            if unwanted.is_set():  # to ask now would start another cluster
                return
            order = running.pop(future)
            try:
                made = ray.get(future)
            except ray.exceptions.RayTaskError as failed:
                raise failed.cause from failed
            except ray.exceptions.RayError as crashed:
                head.must_answer()
                raise _given_up(order) from crashed
            yield made


def _watched(work: Iterator[Made], check: Callable[[], None]) -> Iterator[Made]:
    """What `work` gives, made in a thread; `check` is called whenever that takes some seconds, and may raise."""
    answers: SimpleQueue[Made | BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            for made in work:
                answers.put(made)
            answers.put(None)
        except BaseException as error:  # raised again where it is waited for
            answers.put(error)

    Thread(target=run, daemon=True).start()
    while True:
        try:
            answer = answers.get(timeout=SILENCE)
        except Empty:
            check()
            continue
        if answer is None:
            return
        if isinstance(answer, BaseException):
            raise answer
        yield answer


class _Head:
    """The head of a Ray cluster, as far as it can be reached from here by a connection of our own."""

    def __init__(self, given: str | None, found: str) -> None:
        self.address = given or found
        host, _, port = (given or "").removeprefix("ray://").rpartition(":")
        if not (given or "").startswith("ray://"):
            host, _, port = found.rpartition(":")
        self.place = host.strip("[]"), int(port)
        self.seen = self._accepts()

    def must_answer(self) -> None:
        """ClusterError when nobody accepts connections there any more, several times in a row."""
        if not self.seen:  # behind something that only Ray's own connections pass
            return
        for _ in range(KNOCKS):
            if self._accepts():
                return
            time.sleep(1)
        raise _gone("the head of the Ray cluster", self.address)

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(self.place, timeout=5):
                return True
        except OSError:
            return False


BACKENDS: dict[Name, Callable[[Backend, Iterable[Order]], Iterator[Made]]] = {
    "processes": on_processes,
    "dask": on_dask,
    "ray": on_ray,
}


def _number(n_jobs: int) -> int:
    return n_jobs if n_jobs > 0 else os.cpu_count() or 1


def _again(order: Order, lost: Counter[int]) -> Order:
    lost[order.number] += 1
    if lost[order.number] >= LOST:
        raise _given_up(order)
    return order


def _given_up(order: Order) -> DataError:
    hint = "out of memory? The same command continues"
    return DataError("workers died again and again at these files", *dict.fromkeys(order.files), hint=hint)


def _gone(who: str, address: str) -> ClusterError:
    hint = "the parts that were made are kept; the same command continues, with another --address if need be"
    return ClusterError(f"{who} doesn't answer any more", address, hint=hint)


def _not_installed(absent: ModuleNotFoundError) -> ConfigError:
    return ConfigError(f"workers lack a module ({absent.name})", "--address", hint="install ligare where they run")
