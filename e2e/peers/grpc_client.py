"""A gRPC client by grpcio: `grpc_client.py ADDRESS METHOD [timeout=SECONDS] [MESSAGE…]`.

Prints every message as it comes, `x-served-by` and `weir-reason` of the metadata at the end, and the
status."""

import sys
import time

import grpc

address, method, *words = sys.argv[1:]
timeout = None
if words and words[0].startswith("timeout="):
    timeout = float(words.pop(0).split("=")[1])
messages = [word.encode() for word in words]
channel = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
path = f"/test.Echo/{method}"


def one_by_one():
    for message in messages:
        time.sleep(0.2)
        yield message


def call():
    if method == "Up":
        return channel.stream_unary(path).with_call(one_by_one(), timeout=timeout)
    if method == "Both":
        return channel.stream_stream(path)(one_by_one(), timeout=timeout)
    if method == "Down":
        return channel.unary_stream(path)(messages[0], timeout=timeout)
    return channel.unary_unary(path).with_call(messages[0], timeout=timeout)


def tell(end):
    for key, value in end.trailing_metadata() or ():
        if key in ("x-served-by", "weir-reason"):
            print(f"{key}: {value}")
    print(end.code().name, end.details() or "-", flush=True)


try:
    answer = call()
    if isinstance(answer, tuple):
        print(answer[0].decode())
        tell(answer[1])
    else:
        for message in answer:
            print(message.decode(), flush=True)
        tell(answer)
except grpc.RpcError as error:
    tell(error)
