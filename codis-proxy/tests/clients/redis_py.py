"""redis-py through codis-proxy in front of three servers, with its default settings.

usage: redis_py.py PORT. Prints each step; ends with status 1 at the first one that is not as with one server.
"""

import sys
import threading

import redis

PORT = int(sys.argv[1])


def client(**options):
    return redis.Redis(host="127.0.0.1", port=PORT, decode_responses=True, **options)


def step(check):
    check(client())
    print("ok", check.__name__, flush=True)
    return check


@step
def strings_and_hashes(r):
    assert r.ping()
    assert r.set("py:a", "1") and r.get("py:a") == "1" and r.get("py:none") is None
    r.hset("py:h", mapping={"f": "v", "g": "w"})
    assert r.hgetall("py:h") == {"f": "v", "g": "w"}
    r.zadd("py:z", {"m": 1.5, "n": 2})
    assert r.zrange("py:z", 0, -1) == ["m", "n"] and r.zscore("py:z", "m") == 1.5
    assert r.sadd("py:s", "x") == 1 and r.smembers("py:s") == {"x"}
    assert r.mset({f"py:m{i}": i for i in range(100)})
    assert r.mget([f"py:m{i}" for i in range(100)] + ["py:none"]) == [str(i) for i in range(100)] + [None]
    assert r.delete(*[f"py:m{i}" for i in range(100)]) == 100


@step
def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for i in range(5000):
        pipe.set(f"py:p{i}", i)
        pipe.get(f"py:p{i}")
    replies = pipe.execute()
    assert replies[::2] == [True] * 5000 and replies[1::2] == [str(i) for i in range(5000)]
    pipe = r.pipeline(transaction=False)
    for i in range(5000):
        pipe.delete(f"py:p{i}")
    assert sum(pipe.execute()) == 5000


@step
def transactions_in_one_slot(r):
    def add(pipe):
        count = int(pipe.get("{py:t}n") or 0)
        pipe.multi()
        pipe.set("{py:t}n", count + 1)
        pipe.rpush("{py:t}log", count)

    threads = [threading.Thread(target=lambda: [r.transaction(add, "{py:t}n") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert r.get("{py:t}n") == "80"
    assert r.lrange("{py:t}log", 0, -1) == [str(i) for i in range(80)]
    pipe = r.pipeline()
    pipe.set("py:t:a", 1)
    pipe.set("py:t:b", 2)
    try:
        pipe.execute()
        raise AssertionError("keys of two slots in one transaction")
    except redis.exceptions.ClusterCrossSlotError:
        pass


@step
def scripts(r):
    script = r.register_script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    for i in range(30):
        assert script(keys=[f"py:lua{i}"], args=["x"]) == [f"py:lua{i}", "x", 1]
    sha = r.script_load("return 7")
    assert r.script_exists(sha, "0" * 40) == [True, False]
    assert all(r.evalsha(sha, 1, f"py:{i}") == 7 for i in range(30))


@step
def blocking(r):
    assert r.blpop(["py:none"], timeout=0.05) is None
    got = []
    waiting = threading.Thread(target=lambda: got.append(client().blpop(["py:list"], timeout=20)))
    waiting.start()
    r.rpush("py:list", "element")
    waiting.join()
    assert [list(pair) for pair in got] == [["py:list", "element"]], got


@step
def publish_and_subscribe(r):
    channels = [f"py:ch{i}" for i in range(10)]
    pubsub = r.pubsub()
    pubsub.subscribe(*channels)
    pubsub.psubscribe("py:pattern*")
    for _ in range(11):
        assert pubsub.get_message(timeout=20)["type"] in ("subscribe", "psubscribe")
    for i in range(1000):
        r.publish(channels[i % 10], i)
    r.publish("py:pattern-x", "last")
    seen = {}
    for _ in range(1001):
        message = pubsub.get_message(timeout=20)
        assert message is not None, "a message is lost"
        seen.setdefault(message["channel"], []).append(message["data"])
    for at, channel in enumerate(channels):
        assert seen[channel] == [str(i) for i in range(at, 1000, 10)], channel
    assert seen["py:pattern-x"] == ["last"]
    pubsub.unsubscribe()
    pubsub.close()


@step
def streams_with_consumer_groups(r):
    r.xgroup_create("py:stream", "group", id="0", mkstream=True)
    ids = [r.xadd("py:stream", {"n": i}) for i in range(20)]
    seen = []
    for consumer in ("one", "two"):
        reply = r.xreadgroup("group", consumer, {"py:stream": ">"}, count=10, block=20000)
        (entries,) = reply.values() if isinstance(reply, dict) else [reply[0][1]]
        entries = entries[0] if isinstance(reply, dict) and entries and isinstance(entries[0], list) else entries
        seen += [entry[0] for entry in entries]
    assert seen == ids
    assert r.xpending("py:stream", "group")["pending"] == 20
    assert r.xack("py:stream", "group", *ids) == 20
    assert r.xinfo_groups("py:stream")[0]["pending"] == 0


@step
def scan_sees_each_key_once(r):
    pipe = r.pipeline(transaction=False)
    for i in range(3000):
        pipe.set(f"py:scan:{i}", i)
    pipe.execute()
    keys = list(r.scan_iter(match="py:scan:*", count=100))
    assert sorted(keys) == sorted(f"py:scan:{i}" for i in range(3000)), len(keys)
    assert sorted(r.keys("py:scan:*")) == sorted(keys)


@step
def both_versions_of_the_protocol(_):
    for protocol in (2, 3):
        r = client(protocol=protocol, client_name=f"py-{protocol}")
        assert r.client_info()["resp"] == str(protocol)
        assert r.client_getname() == f"py-{protocol}"
        assert r.client_info()["lib-name"].startswith("redis-py")
        r.hset("py:h", "f", "v")
        assert r.hgetall("py:h")["f"] == "v"
        assert r.get("py:none") is None
        assert r.config_get("maxmemory") == {"maxmemory": "0"}
        assert r.info()["redis_mode"] == "standalone"
        assert r.command_count() > 200 and "get" in r.command()


@step
def a_pool_of_500(_):
    pool = redis.ConnectionPool(host="127.0.0.1", port=PORT, decode_responses=True, max_connections=500)
    connections = [pool.get_connection() for _ in range(500)]
    for at, connection in enumerate(connections):
        connection.send_command("SET", f"py:pool{at}", at)
    assert all(connection.read_response() in ("OK", b"OK") for connection in connections)
    for at, connection in enumerate(connections):
        connection.send_command("GET", f"py:pool{at}")
    assert [connection.read_response() for connection in connections] == [str(at) for at in range(500)]
    for connection in connections:
        pool.release(connection)
    pool.disconnect()


print("redis-py", redis.__version__, "protocol", client().client_info()["resp"])
