"""Where parts are made: in this program's own processes, or on a Dask or Ray cluster.

Every backend takes orders and gives what was made as it comes. Orders are handed out a few at a time, so that workers
that join later get theirs, and those of a worker that dies go to another.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from typing import Any, Literal

from joblib import Parallel, delayed

from configs.errors import ConfigError, DataError
from data.line_process import ROOT
from data.supervise import Limits, Made, Order, end_processes, make_safely

Name = Literal["processes", "dask", "ray"]
EXTRAS = {"dask": ("distributed", "Dask"), "ray": ("ray", "Ray")}
NAMES: tuple[Name, ...] = ("processes", "dask", "ray")
AHEAD = 2  # orders handed out for each worker
LOST = 5  # times that workers may die under an order before it is their fault no more


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
    from distributed import Client, LocalCluster, as_completed
    from distributed.scheduler import KilledWorker

    if backend.address is None:
        cluster = LocalCluster(_number(backend.n_jobs), threads_per_worker=1, dashboard_address=None)
    else:
        cluster = None
    try:
        client = Client(cluster or backend.address, timeout=30)
    except (OSError, ValueError) as failed:
        raise ConfigError(f"no Dask scheduler answers: {failed}", "--address", hint=str(backend.address)) from failed
    with client:
        lost, waiting, running = Counter[int](), iter(orders), as_completed()
        of_future: dict[Any, Order] = {}

        def submit(order: Order) -> None:
            future = client.submit(make_safely, order, backend.limits, pure=False)
            of_future[future] = order
            running.add(future)

        while True:
            room = AHEAD * max(1, sum(client.ncores().values())) - len(of_future)
            for order in islice(waiting, max(0, room)):
                submit(order)
            if not of_future:
                break
            future = next(running)
            order = of_future.pop(future)
            try:
                made = future.result()
            except KilledWorker:
                submit(_again(order, lost))
            except ModuleNotFoundError as absent:
                raise _not_installed(absent) from absent
            else:
                yield made
    if cluster is not None:
        cluster.close()


def on_ray(backend: Backend, orders: Iterable[Order]) -> Iterator[Made]:
    """Tasks of a Ray cluster."""
    import ray

    try:
        given: dict[str, Any] = {}
        if backend.address is None:
            given = {"num_cpus": _number(backend.n_jobs), "include_dashboard": False}
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        ray.init(backend.address, runtime_env={"env_vars": {"PYTHONPATH": paths}}, log_to_driver=False, **given)
    except (ConnectionError, ValueError, RuntimeError) as failed:
        raise ConfigError(f"no Ray cluster answers: {failed}", "--address", hint=str(backend.address)) from failed
    try:
        task = ray.remote(max_retries=LOST)(make_safely)
        waiting = iter(orders)
        running: dict[Any, Order] = {}
        while True:
            room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(running)
            for order in islice(waiting, max(0, room)):
                running[task.remote(order, backend.limits)] = order
            if not running:
                break
            (ready, *_), _ = ray.wait(list(running))
            order = running.pop(ready)
            try:
                made = ray.get(ready)
            except ray.exceptions.RayTaskError as failed:
                raise failed.cause from failed
            except ray.exceptions.RayError as crashed:
                raise _given_up(order) from crashed
            yield made
    finally:
        ray.shutdown()


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


def _not_installed(absent: ModuleNotFoundError) -> ConfigError:
    return ConfigError(f"workers lack a module ({absent.name})", "--address", hint="install ligare where they run")
