"""Runs a catalogue scan on Ray Data: plans it, streams its units through actors, and repeats units that were lost."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from veriphoto.errors import ServiceError, ServiceUnavailableError, UsageError
from veriphoto.second_opinion import Mode
from veriphoto_client.catalogue.ledger import Claim, Ledger
from veriphoto_client.catalogue.options import CatalogueOptions
from veriphoto_client.catalogue.plan import Plan, Unit
from veriphoto_client.catalogue.progress import Pace, ProgressLine
from veriphoto_client.catalogue.report import CatalogueReport, known_scores, take_stock
from veriphoto_client.catalogue.scorer import READ_AHEAD, Work, score_unit
from veriphoto_client.catalogue.standing import Listing, find_todo
from veriphoto_client.catalogue.tally import Count, Tally
from veriphoto_client.local.model import ModelPackage
from veriphoto_client.scan.rows import Row
from veriphoto_client.scan.stamps import Stamp
from veriphoto_client.sources import storage
from veriphoto_client.sources.listing import inputs
from veriphoto_client.sources.places import Place, place

_ray: Any = ray  # annotated in parts, which strict checking takes amiss
_STATE_FILE: Final = "_scan.json"
_SCHEMA: Final = 1
_IDLE_PASSES: Final = 4
"""Passes in a row without a new part file before the scan gives up: enough to find a picture that kills its process."""
_LOCAL_STORE_BYTES: Final = 128 * 2**20  # little is sent: numbers of units one way, counts the other


def run(options: CatalogueOptions, console: Console) -> CatalogueReport:
    """Scans a catalogue.

    Args:
        options: The settings of the scan.
        console: Console for the progress line.

    Returns:
        The state of the output at the end, which holds every input of the source exactly once.

    Raises:
        UsageError: If the source or the output cannot be used.
        ModelError: If the model version must not be used.
        ServiceError: If the cluster is away or stops scoring; running the same scan again continues it.
    """
    started = time.monotonic()
    package = ModelPackage.read(options.model, options.variant, options.second_opinion)
    output = place(options.output)
    _claim(output, package, options)
    plan, listing, skipped = Plan(output), Listing(), Counter[str]()
    with console.status("listing the source"):
        found = inputs(options.source, leave_out=options.output, on_skip=lambda _: skipped.update(files=1))
        done_units = plan.done()
        # A first run has nothing to compare with.
        plan.extend(listing.noting(found) if done_units else found, options.rows_per_file)
        listing.sort()
        units = list(plan.units())
        todo = find_todo(output, units, done_units, listing, force=options.force)
    planned = sum(unit.rows for unit in units)
    earlier = planned - sum(unit.todo for unit in todo.units)
    done = Count()
    if todo.units:
        with _cluster(options), _desk(options, output) as desk:
            pace = Pace(planned, earlier, options.price)
            try:
                with ProgressLine(console, pace) as line, _watching(desk, line):
                    _passes(plan, todo.units, options, package, desk)
                done = _ray.get(desk.total.remote())
            except _ray.exceptions.RayError as error:  # actors that cannot even begin, or a head that is gone
                raise ServiceUnavailableError(f"the Ray cluster fails: {error}") from error
    took = time.monotonic() - started
    report = take_stock(output, earlier, done, took, options.price, todo, skipped["files"])
    if report.rows != planned:
        raise ServiceError(f"the plan has {planned} inputs, the output {report.rows} rows; leave both and report this")
    return report


def _claim(output: Place, package: ModelPackage, options: CatalogueOptions) -> None:
    state: dict[str, Any] = {
        "schema": _SCHEMA,
        "model_sha256": package.sha256,
        "precision": package.precision,
        "second_opinion": package.second_opinion,
    }
    at = output.child(_STATE_FILE)
    try:
        if storage.exists(at):
            # Rows of a scan that names no second opinion are the classifier's alone.
            if {"second_opinion": Mode.OFF, **json.loads(storage.read(at))} != state:
                raise UsageError(
                    f"{options.output} holds rows of another model, variant or second opinion; name another --output"
                )
        elif next(storage.files(output, recursive=True), None):
            raise UsageError(f"{options.output} holds other files; name an empty --output")
        else:
            storage.put(at, json.dumps(state).encode())
        storage.clear_torn(output)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{options.output} cannot be used: {error}; name another --output") from error


def _passes(plan: Plan, todo: list[Unit], options: CatalogueOptions, package: ModelPackage, desk: Any) -> None:
    """Runs until every unit has its part file: one pass, or more if a process or a node is lost."""
    package_ref = _ray.put(package)
    again = {(unit.shard, unit.index) for unit in todo if unit.again}  # whose part file was there before
    idle = 0
    while todo:
        finished = _pass(todo, options, package_ref, desk)
        before, done = len(todo), finished | (plan.done() - again)
        todo = [unit for unit in todo if (unit.shard, unit.index) not in done]
        idle = idle + 1 if len(todo) == before else 0
        if idle == _IDLE_PASSES:
            why = _ray.get(desk.trouble.remote()) or "their actors end before that; look at Ray's logs (memory?)"
            raise ServiceUnavailableError(
                f"{len(todo)} part files cannot be written: {why}; then run the same command again"
            )


def _pass(todo: list[Unit], options: CatalogueOptions, package: Any, desk: Any) -> set[tuple[int, int]]:
    """Runs units, and returns shard and index of those that report that they are done."""
    context = _ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A unit whose actor died is left for the next pass. Ray would wait with it until that very actor is back, which
    # needs a free core: on a cluster that does not get its node back, for ever.
    context.max_errored_blocks = -1
    items = [_item(unit) for unit in todo]
    workers = options.workers or max(1, int(_ray.cluster_resources().get("CPU", 1)))
    with warnings.catch_warnings():
        # From Ray 2.64 on, max_task_retries has to be given in another way.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        scored = _ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            fn_constructor_args=(options, package, desk),
            batch_size=1,
            batch_format="pyarrow",
            # One unit in flight: a second would wait behind the first while other actors are idle at the end.
            compute=_ray.data.ActorPoolStrategy(size=min(workers, len(items)), max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            max_task_retries=0,
        )
    finished: set[tuple[int, int]] = set()
    for batch in scored.iter_batches(batch_size=None, prefetch_batches=0):
        finished.update(zip(map(int, batch["shard"]), map(int, batch["index"]), strict=True))
    return finished


def _item(unit: Unit) -> dict[str, Any]:
    again = {position: (stamp.size, stamp.modified) for position, stamp in unit.again.items()}
    return {"shard": unit.shard, "index": unit.index, "rows": unit.rows, "again": json.dumps(again)}


def _unit(item: dict[str, Any]) -> Unit:
    again = {int(position): Stamp(*values) for position, values in json.loads(item["again"]).items()}
    return Unit(**{**item, "again": again})


class _Actor:
    """Holds a session for one thread, and threads that read ahead for it."""

    def __init__(self, options: CatalogueOptions, package: Any, desk: Any) -> None:
        found: ModelPackage = _ray.get(package)
        self._readers = ThreadPoolExecutor(READ_AHEAD)
        self._desk = _RemoteState(desk)
        self._work = Work(
            judge=found.open(),
            model_sha256=found.sha256,
            output=place(options.output),
            desk=self._desk,
            tries=options.tries,
            deduplicate=options.deduplicate,
        )

    def __call__(self, batch: Any) -> dict[str, list[int]]:
        units = [_unit(item) for item in batch.to_pylist()]
        try:
            rows = [score_unit(unit, self._work, self._readers) for unit in units]
            return {"rows": rows, "shard": [unit.shard for unit in units], "index": [unit.index for unit in units]}
        except Exception as error:  # the driver sees only that the unit has no part file
            self._desk.complain(f"{type(error).__name__}: {error}")
            raise


class _SharedState(Tally, Ledger):
    """The state that the units of a scan share: an actor beside the driver, as long as the scan runs."""

    def __init__(self) -> None:
        Tally.__init__(self)
        Ledger.__init__(self)


class _RemoteState:
    """The shared state as the units see it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, unit: str) -> tuple[bool, set[int]]:
        found: tuple[bool, set[int]] = _ray.get(self._actor.begin.remote(unit))
        return found

    def working(self, unit: str, position: int) -> None:
        _ray.get(self._actor.working.remote(unit, position))  # waits: known before the photo can do harm

    def note(self, unit: str, count: Count) -> None:
        self._actor.note.remote(unit, count)

    def finish(self, unit: str, count: Count) -> None:
        _ray.get(self._actor.finish.remote(unit, count))

    def ask(self, sha256: str, owner: str, *, insist: bool = False) -> Row | Claim:
        found: Row | Claim = _ray.get(self._actor.ask.remote(sha256, owner, insist=insist))
        return found

    def complain(self, trouble: str) -> None:
        self._actor.complain.remote(trouble)

    def tell(self, rows: dict[str, Row]) -> None:
        self._actor.tell.remote(rows)


@contextmanager
def _cluster(options: CatalogueOptions) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a scan reports to nobody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or every start of an actor looks like an error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    own = {"num_cpus": options.workers, "include_dashboard": False, "object_store_memory": _LOCAL_STORE_BYTES}
    try:
        _ray.init(
            address=options.ray_address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if options.ray_address else own),
        )
    except Exception as error:  # Ray raises many unrelated types
        address = options.ray_address
        where = f"the Ray cluster at {address} is away" if address else "Ray does not start here"
        raise ServiceUnavailableError(f"{where}: {error}") from error
    try:
        yield
    finally:
        _ray.shutdown()


@contextmanager
def _desk(options: CatalogueOptions, output: Place) -> Iterator[Any]:
    here = NodeAffinitySchedulingStrategy(_ray.get_runtime_context().get_node_id(), soft=False)
    desk = _ray.remote(_SharedState).options(num_cpus=0, scheduling_strategy=here).remote()
    if options.deduplicate and not options.force:
        for scores in known_scores(output):
            _ray.get(desk.tell.remote(scores))
    yield desk


@contextmanager
def _watching(desk: Any, line: ProgressLine) -> Iterator[None]:
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            line.show(_ray.get(desk.total.remote()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
