"""The demo: live audio through the gateway: what was said, its translation, and where speech was.

python demos/run_demo.py                    streams demos/audio, checks, exits with 0 or 1
python demos/run_demo.py --audio FILE ...   your own recordings
python demos/run_demo.py --serve            keeps the demo models served until Ctrl-C
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path

try:
    from tritonclient.utils import InferenceServerException

    import gateway
    import losses
    import over_grpc
    import over_http
    import over_websocket
    import prepare
    import recordings
    import screen
    import spoken_numbers
    import voice_activity_graph
    from streams import DemoError, Pace, Stream
except ModuleNotFoundError as missing:
    sys.exit(f"demo: {missing}; the demo needs the extra 'demo': pip install -e '.[demo]'")

DEMOS = Path(__file__).resolve().parent
_KILLS = (1.5, 4.5)
"""When engines are killed, in seconds of the recordings."""

_STANDARD_PORTS = gateway.Ports(http=8000, grpc=8001, metrics=8002, websocket=8003)


async def demonstrate(ports: gateway.Ports, files: list[Path]) -> None:
    """Runs the whole demo. Raises DemoError when anything is not as it should be."""
    loaded = recordings.load_all(files)
    began = time.monotonic()
    async with gateway.running(prepare.MODELS, ports, engines=2) as running:
        addresses, took = running.addresses, time.monotonic() - began
        print(f"The gateway is ready after {took:.1f} s: {addresses.http} (HTTP),")
        print(f"{addresses.grpc} (gRPC), {addresses.websocket} (WebSocket).")

        screen.heading("One stateless request over HTTP, to add_sub_onnx")
        total, difference = await asyncio.to_thread(over_http.add_and_subtract, addresses.http)
        print(f"  sum {total}, difference {difference}")

        await _speech(running, files)

        screen.heading(f"{len(loaded)} recordings, live over each of two transports")
        print("  after    transport  recording         what            at")
        before = await asyncio.to_thread(over_http.step_counts, addresses.http)
        streams = await _stream(addresses, loaded)
        after = await asyncio.to_thread(over_http.step_counts, addresses.http)

    screen.heading("Where there was speech")
    screen.pictures(streams)
    screen.heading("Summary")
    ran = over_http.StepCounts(after.rows - before.rows, after.steps - before.steps)
    screen.summary(streams, ran)
    _check(streams, ran)


async def _speech(running: gateway.Gateway, files: list[Path]) -> None:
    """What is said in recordings: numbers as they are spoken, and whole files."""
    addresses = running.addresses
    screen.heading("Spoken numbers, live: the text so far [its tail], and its German")
    spoken = await spoken_numbers.live(addresses, screen.spoken_change)
    screen.heading("All four, with their translations")
    screen.transcripts(spoken)
    spoken_numbers.check(spoken)

    screen.heading("The same again, while engines are killed")
    await _speech_outlives_engines(running, spoken)

    path = spoken_numbers.RECORDINGS / "price_22k.wav"
    screen.heading(f"{path.name} as other services' clients send it")
    texts = {
        "OpenAI  POST /v1/audio/transcriptions": await spoken_numbers.by_openai(
            addresses, path, spoken_numbers.MODEL
        ),
        "Deepgram  ws /v1/listen": await spoken_numbers.by_deepgram(
            addresses, path, spoken_numbers.MODEL
        ),
    }
    for dialect, text in texts.items():
        screen.said(dialect, text)
        if text != spoken_numbers.SAID[path.stem]:
            raise DemoError(f"{dialect}: heard '{text}'")

    screen.heading("Any English, by pocketsphinx (small and old: it errs)")
    for path in files:
        text = await spoken_numbers.by_openai(addresses, path, "pocketsphinx_english")
        screen.said(path.stem, text)


async def _speech_outlives_engines(
    running: gateway.Gateway, before: list[spoken_numbers.Spoken]
) -> None:
    """The spoken numbers once more: engines that are killed change nothing of what is heard."""
    killing = asyncio.create_task(
        losses.kill_engines(running.directory, _KILLS, time.monotonic(), screen.killed)
    )
    after = await spoken_numbers.live(running.addresses, screen.spoken_change)
    await killing
    await losses.wait_back(running.directory)
    for one, other in zip(before, after, strict=True):
        if one != other:
            raise DemoError(f"{one.name}: heard {one} without losses, and {other} with them")
    words = sum(len(text.split()) for each in after for text in each.utterances)
    print(
        f"\n  Checked: all {words} words of {len(after)} streams, and their translations, are the"
    )
    print(f"  same; {len(_KILLS)} engines were killed.")


async def _stream(addresses: gateway.Addresses, loaded: list[recordings.Recording]) -> list[Stream]:
    """Streams every recording over both transports at the same time."""
    by_websocket = [Stream("websocket", recording, screen.event) for recording in loaded]
    by_grpc = [Stream("grpc", recording, screen.event) for recording in loaded]
    pace = Pace(time.monotonic() + 0.2)
    await asyncio.gather(
        over_websocket.run(addresses.websocket, by_websocket, pace),
        asyncio.to_thread(over_grpc.run, addresses.grpc, by_grpc, pace),
    )
    return [*by_websocket, *by_grpc]


def _check(streams: list[Stream], ran: over_http.StepCounts) -> None:
    """The demo's claims: every chunk answered once, and the same events over both transports."""
    half = len(streams) // 2
    for one, other in zip(streams[:half], streams[half:], strict=True):
        for stream in (one, other):
            if not stream.complete:
                raise DemoError(
                    f"{stream.transport} {stream.name}: {len(stream.latencies)} answers "
                    f"to {len(stream.recording.chunks)} chunks"
                )
        if one.events != other.events:
            raise DemoError(
                f"{one.name}: the events differ between the transports:\n"
                f"  {one.transport}: {one.events}\n  {other.transport}: {other.events}"
            )
    chunks = sum(len(stream.recording.chunks) for stream in streams)
    if ran.rows != chunks:
        raise DemoError(f"{chunks} chunks were sent, the model's statistics count {ran.rows}")
    events = sum(len(stream.events) for stream in streams[:half])
    print(f"\n  Checked: each of {chunks} chunks was answered once and in order, and the")
    print(f"  {events} events are identical over both transports.")


async def serve(ports: gateway.Ports) -> None:
    """Keeps the demo models served until it is interrupted."""
    async with gateway.running(prepare.MODELS, ports, show_log=True) as running:
        print("The demo models are served, until Ctrl-C:")
        print(f"  the page   http://{running.addresses.http}/")
        print(f"  HTTP       http://{running.addresses.http}/v2")
        print(f"  gRPC       {running.addresses.grpc}")
        print(f"  metrics    http://{running.addresses.metrics}/metrics")
        print(f"  WebSocket  ws://{running.addresses.websocket}/v1/speech", flush=True)
        await running.wait_end()
        raise DemoError("the gateway ended by itself")


async def _run(work: Coroutine[None, None, None]) -> None:
    """Awaits the work; SIGTERM cancels it, so that the gateway is stopped with us."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Live audio through the StreamGate gateway.")
    parser.add_argument(
        "--audio", type=Path, nargs="+", metavar="FILE", help="recordings instead of demos/audio"
    )
    parser.add_argument("--serve", action="store_true", help="serve the models until Ctrl-C")
    for name in ("http", "grpc", "metrics", "websocket"):
        standard = getattr(_STANDARD_PORTS, name)
        help_text = f"default: any free port; {standard} with --serve"
        parser.add_argument(f"--{name}-port", type=int, metavar="PORT", help=help_text)
    return parser.parse_args()


def _ports(arguments: argparse.Namespace) -> gateway.Ports:
    defaults = _STANDARD_PORTS if arguments.serve else gateway.Ports()
    given = {name: getattr(arguments, f"{name}_port") for name in defaults.__dataclass_fields__}
    return gateway.Ports(
        **{name: getattr(defaults, name) if port is None else port for name, port in given.items()}
    )


def _reason(error: BaseException) -> str:
    """What to tell the user: of several failures at once, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, DemoError) else f"{type(error).__name__}: {error}"


def main() -> int:
    arguments = _arguments()
    files = arguments.audio or sorted((DEMOS / "audio").glob("*.wav"))
    ports = _ports(arguments)
    try:
        prepare.prepare(prepare.MODELS)
        asyncio.run(_run(serve(ports) if arguments.serve else demonstrate(ports, files)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0 if arguments.serve else 130
    except (recordings.RecordingError, voice_activity_graph.GraphSourceError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except (DemoError, ExceptionGroup, OSError, InferenceServerException) as error:
        print(f"demo failed: {_reason(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
