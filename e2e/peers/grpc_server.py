"""A gRPC server by grpcio, without generated code: messages are bytes. Says its port when ready."""

import sys
import threading
import time
from concurrent import futures

import grpc

failures = {}
lock = threading.Lock()


def unary(request, context):
    context.set_trailing_metadata((("x-served-by", sys.argv[1]),))
    return request


def fail(request, context):
    """`key count status`: the first `count` calls with this key end with this status."""
    key, count, status = request.decode().split()
    with lock:
        failures[key] = failures.get(key, 0) + 1
        seen = failures[key]
    if seen <= int(count):
        # With initial metadata the status comes in a frame of its own, behind the head.
        if key.startswith("late"):
            context.send_initial_metadata((("x-early", "1"),))
        code = next(code for code in grpc.StatusCode if code.value[0] == int(status))
        context.abort(code, "failed as told, 100 % of it")
    return b"after %d" % seen


def slow(request, context):
    """Answers after so many milliseconds, with the milliseconds that the caller has left."""
    left = context.time_remaining()
    time.sleep(int(request) / 1000)
    # Without a deadline it says some centuries.
    return b"%d" % (left * 1000) if left and left < 1e6 else b"none"


def down(request, context):
    """`count pause`: so many messages with so many milliseconds before each."""
    count, pause = map(int, request.split())
    for number in range(count):
        time.sleep(pause / 1000)
        yield b"%d" % number


def up(requests, context):
    sizes = [len(request) for request in requests]
    return b"%d messages, %d bytes" % (len(sizes), sum(sizes))


def both(requests, context):
    for request in requests:
        yield request.upper()


methods = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
