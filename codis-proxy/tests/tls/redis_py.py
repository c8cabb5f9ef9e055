"""redis-py with TLS and users: port of the proxy, its authority, another authority."""

import sys

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT, CA, OTHER = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def client(ca=CA, **options):
    return redis.Redis(host="localhost", port=PORT, ssl=True, ssl_ca_certs=ca, socket_timeout=10, **options)


def refused(what, error, **options):
    try:
        client(retry=Retry(NoBackoff(), 0), **options).ping()
    except error:
        return
    raise SystemExit(what + " was let in")


alice = client(username="alice", password="wonder")
bob = client(username="bob", password="builder", protocol=2)
assert alice.set("k", b"\x00v\xff") and bob.get("k") == b"\x00v\xff"
value = bytes(range(256)) * 8192
assert alice.set("big", value) and bob.get("big") == value
pipe = alice.pipeline(transaction=False)
for number in range(5000):
    pipe.set(f"p{number}", number)
    pipe.get(f"p{number}")
assert pipe.execute() == [reply for number in range(5000) for reply in (True, str(number).encode())]
with bob.pipeline(transaction=True) as transaction:
    assert transaction.incr("n").incr("n").execute() == [1, 2]
alice.rpush("list", "x")
assert bob.blpop("list", timeout=5) == (b"list", b"x")
listener = bob.pubsub()
listener.subscribe("news")
assert listener.get_message(timeout=5)["type"] == "subscribe"
alice.publish("news", "hello")
assert listener.get_message(timeout=5)["data"] == b"hello"
assert alice.acl_whoami() == "alice" if hasattr(alice, "acl_whoami") else True

refused("a wrong password", redis.AuthenticationError, username="alice", password="builder")
refused("an unknown user", redis.AuthenticationError, username="carol", password="wonder")
refused("the server's own user", redis.AuthenticationError, username="app", password="pass-of-app")
refused("a proxy that is not trusted", redis.ConnectionError, ca=OTHER, username="alice", password="wonder")
