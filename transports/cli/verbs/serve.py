"""``solvent serve``: serve the journal of a folder over NATS, HTTP or both, until a signal stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer

from solvent.engine.runtime.collector import tune_collector
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.transports.cli.options import DATA_DIR_DEFAULT, Currencies, DataDir, Json
from solvent.transports.cli.pairs import parse_currencies
from solvent.transports.cli.running import reporting, run_async
from solvent.transports.cli.serving import Http, Served
from solvent.transports.cli.serving import serve as serve_until
from solvent.transports.cli.signals import call_on_signal
from solvent.transports.cli.terminal import Text, out, print_json


def serve(
    data_dir: DataDir = DATA_DIR_DEFAULT,
    nats_url: Annotated[
        str | None,
        typer.Option("--nats-url", envvar="SOLVENT_NATS_URL", help="The NATS server to use. Default: start one."),
    ] = None,
    nats_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port of the NATS server that is started; 0 takes a free one.")
    ] = 4222,
    no_nats: Annotated[bool, typer.Option("--no-nats", help="Serve HTTP only.")] = False,
    http: Annotated[
        str | None,
        typer.Option(envvar="SOLVENT_HTTP", help="Serve HTTP too, at an address of this machine: 127.0.0.1:8080."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="The certificate of HTTP, a file in PEM: HTTPS is served.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The private key of the certificate, a file in PEM.")] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help=f"Environment to serve, {ENVIRONMENT_DEFAULT} if none. Repeatable.")
    ] = None,
    currency: Currencies = None,
    as_json: Json = False,
) -> None:
    """Serve a journal until Ctrl-C or SIGTERM. Requests that arrived by then are answered first.

    Starts a nats-server on loopback unless --nats-url names one or --no-nats is given. HTTP needs --http. With --json,
    prints {"ready": URL} once it serves, and with --http also "http": URL.
    """

    def say_ready(served: Served) -> None:
        tune_collector()
        urls = [url for url in served if url is not None]
        if as_json:
            print_json({"ready": urls[0]} if served.http is None else {"ready": urls[0], "http": served.http})
        else:
            places = Text(" and ").join(Text(url, "bold") for url in urls)
            where = Text.assemble(("✓ ", "bold green"), f"serving {data_dir} at ", places, "  (Ctrl-C stops it)")
            out().print(where, soft_wrap=True)

    async def run() -> None:
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_on_signal, stop.set)
            await serve_until(
                data_dir,
                nats=not no_nats,
                nats_url=nats_url or None,
                nats_port=nats_port,
                http=None if http is None else Http(http, tls_cert, tls_key),
                environments=environment or [ENVIRONMENT_DEFAULT],
                currencies=parse_currencies(currency or ()),
                on_ready=say_ready,
                stop=stop,
            )
            tasks.cancel_scope.cancel()

    with reporting(as_json):
        run_async(run)
