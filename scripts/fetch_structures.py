"""Entries of the Protein Data Bank by id, as gzipped mmCIF files with a manifest of their checksums.

    ligare fetch 1brs 4hhb --out structures
    ligare fetch --ids ids.txt --out structures
    ligare fetch --index index.csv --out structures            (its column pdb_id)
    ligare fetch --verify --out structures

What is there already, and as the manifest says, is not fetched again, so that the same command goes on after a stop.
A file is put in its place when it is whole, valid and the entry that was asked for. What could not be fetched is told
in OUT/failures.csv. Exit status: 0 when all entries are there, 1 when some are not, 2 when none is, or an option is at
fault. --server is an address behind which /ID.cif.gz lies, or one with {id} and {mid} (the two middle characters).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from configs.command import command
from configs.errors import ConfigError, LigareError
from configs.files import sha256_of
from configs.limits import add_limit_flags, size, use_limits
from configs.options import at_least
from configs.words import count_of
from data.download import Downloader, check_server
from data.entries import ENDING, Fetched, check_entry, entry_ids, note, read_manifest, write_manifest
from data.failures import Failure, write_failures

SERVER = "https://files.rcsb.org/download"
FAILURES = "failures.csv"
SOME_FAILED, ALL_FAILED = 1, 2


@command("fetch_structures", interrupted="interrupted; the same command goes on with what is missing")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    use_limits(options)
    if options.verify:
        return verify(options.out)
    at_least(options, 0.01, "rate", "timeout")
    at_least(options, 1, "connections")
    at_least(options, 0, "retries")
    check_server(options.server)
    names = entry_ids(options.ids_given, options.ids, options.index)
    options.out.mkdir(parents=True, exist_ok=True)
    known = read_manifest(options.out)
    missing = [name for name in names if name not in known or known[name].fault(options.out)]
    failures = list(fetched(options, missing, known))
    write_manifest(options.out, known)
    there = len(names) - len(failures)
    new, old = count_of(len(missing) - len(failures), "entry", "entries"), len(names) - len(missing)
    print(f"{new} fetched, {old} {'was' if old == 1 else 'were'} there, in {options.out}")
    path = options.out / FAILURES
    if not failures:
        path.unlink(missing_ok=True)
        return 0
    write_failures(path, failures)
    first = failures[0]
    print(f"{len(failures)} failed, reasons in {path}; the first: {first.pdb_id}: {first.reason}", file=sys.stderr)
    return SOME_FAILED if there else ALL_FAILED


def fetched(options: argparse.Namespace, names: Sequence[str], known: dict[str, Fetched]) -> Iterator[Failure]:
    """Fetch entries, add them to the manifest and to `known`, and give the failures."""
    downloader = Downloader(
        rate=options.rate,
        connections=options.connections,
        retries=options.retries,
        timeout=options.timeout,
        max_size=options.max_size,
        backoff=options.backoff,
    )

    def fetch(name: str) -> Fetched:
        path, url = options.out / f"{name}{ENDING}", url_of(options.server, name)
        downloader.fetch(url, path, lambda temporary: check_entry(temporary, name))
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Fetched(name, path.name, path.stat().st_size, sha256_of(path), url, date)

    with ThreadPoolExecutor(options.connections) as threads:
        waiting = {threads.submit(fetch, name): name for name in names}
        shown = tqdm(as_completed(waiting), desc="entries", total=len(waiting), disable=not sys.stderr.isatty())
        try:
            for done in shown:
                name = waiting[done]
                try:
                    entry = done.result()
                except LigareError as reason:
                    yield Failure(f"{name}{ENDING}", "", name, "", str(reason))
                    continue
                known[name] = entry
                note(options.out, entry)
        except BaseException:
            downloader.stop()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def url_of(server: str, name: str) -> str:
    """The address of an entry's file."""
    middle = name[-3:-1]
    if "{id}" in server:
        return server.replace("{id}", name).replace("{mid}", middle)
    return f"{server.rstrip('/')}/{name}{ENDING}"


def verify(folder: Path) -> int:
    """Compare all files with the manifest; 2 when one differs."""
    known = read_manifest(folder)
    if not known:
        raise ConfigError("holds no manifest.csv with entries", folder)
    faults = {name: fault for name, entry in known.items() if (fault := entry.fault(folder))}
    for name, fault in faults.items():
        print(f"{known[name].file}: {fault}", file=sys.stderr)
    sound = len(known) - len(faults)
    print(f"{sound} of {count_of(len(known), 'file')} {'is as it was' if sound == 1 else 'are as they were'} fetched")
    return ALL_FAILED if len(faults) == len(known) else SOME_FAILED if faults else 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("ids_given", nargs="*", metavar="ID", help="PDB ids: 1abc, pdb_00001abc")
    add("--ids", type=Path, metavar="FILE", help="text file with ids")
    add("--index", type=Path, metavar="CSV", help="table with a column pdb_id")
    add("--out", type=Path, default=Path("structures"), metavar="FOLDER", help="(default structures)")
    add("--server", default=SERVER, metavar="URL", help=f"(default {SERVER})")
    add("--rate", type=float, default=4.0, help="requests a second (default 4)")
    add("--connections", type=int, default=2, help="at a time (default 2)")
    add("--retries", type=int, default=4, help="of each entry (default 4)")
    add("--backoff", type=float, default=1.0, help="seconds before the first retry, then twice as long (default 1)")
    add("--timeout", type=float, default=30.0, help="seconds to wait for an answer (default 30)")
    add("--max_size", type=size, default=512 * 2**20, metavar="N", help="bytes of a file (default 512M)")
    add("--verify", action="store_true", help="compare the files with the manifest, and fetch nothing")
    add_limit_flags(parser, "max_unpacked_size")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
