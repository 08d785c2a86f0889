"""``solvent serve``: serve the journal of a folder over NATS until a signal stops it."""

from __future__ import annotations

from typing import Annotated

import anyio
import typer

from solvent.engine.runtime.collector import tune_collector
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.transports.cli.options import DATA_DIR_DEFAULT, Currencies, DataDir, Json
from solvent.transports.cli.pairs import parse_currencies
from solvent.transports.cli.running import reporting, run_async
from solvent.transports.cli.signals import call_on_signal
from solvent.transports.cli.terminal import Text, out, print_json
from solvent.transports.nats.service import serve as serve_over_nats


def serve(
    data_dir: DataDir = DATA_DIR_DEFAULT,
    nats_url: Annotated[
        str | None,
        typer.Option("--nats-url", envvar="SOLVENT_NATS_URL", help="The NATS server to use. Default: start one."),
    ] = None,
    nats_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port of the NATS server that is started; 0 takes a free one.")
    ] = 4222,
    environment: Annotated[
        list[str] | None, typer.Option(help=f"Environment to serve, {ENVIRONMENT_DEFAULT} if none. Repeatable.")
    ] = None,
    currency: Currencies = None,
    as_json: Json = False,
) -> None:
    """Serve a journal over NATS until Ctrl-C or SIGTERM. Requests that arrived by then are answered first.

    Starts a nats-server on loopback unless --nats-url names one. With --json, prints {"ready": URL} once it serves.
    """

    def say_ready(url: str) -> None:
        tune_collector()
        if as_json:
            print_json({"ready": url})
        else:
            where = Text.assemble(("✓ ", "bold green"), f"serving {data_dir} at ", (url, "bold"), "  (Ctrl-C stops it)")
            out().print(where, soft_wrap=True)

    async def run() -> None:
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_on_signal, stop.set)
            await serve_over_nats(
                data_dir,
                nats_url=nats_url or None,
                nats_port=nats_port,
                environments=environment or [ENVIRONMENT_DEFAULT],
                currencies=parse_currencies(currency or ()),
                on_ready=say_ready,
                stop=stop,
            )
            tasks.cancel_scope.cancel()

    with reporting(as_json):
        run_async(run)
