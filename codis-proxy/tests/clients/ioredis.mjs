// ioredis through codis-proxy in front of three servers, with its default settings.
// usage: ioredis.mjs PORT, in a directory from which the library is found.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

import { run, until, upTo } from "./node.mjs";

const require = createRequire(join(process.env.CLIENT_LIBRARIES, "x.js"));
const Redis = require("ioredis");
const port = Number(process.argv[2]);
const connect = (options = {}) => new Redis({ host: "127.0.0.1", port, ...options });
const redis = connect();
redis.on("error", (error) => {
  console.error(error);
  process.exit(1);
});

await run({
  async stringsAndHashes() {
    assert.equal(await redis.set("io:a", 1), "OK");
    assert.equal(await redis.get("io:a"), "1");
    assert.equal(await redis.get("io:none"), null);
    await redis.hset("io:h", { f: "v", g: "w" });
    assert.deepEqual(await redis.hgetall("io:h"), { f: "v", g: "w" });
    const pairs = Object.fromEntries(upTo(100).map((i) => [`io:m${i}`, String(i)]));
    assert.equal(await redis.mset(pairs), "OK");
    assert.deepEqual(await redis.mget(Object.keys(pairs), "io:none"), [...Object.values(pairs), null]);
    assert.equal(await redis.del(Object.keys(pairs)), 100);
  },

  async pipelines() {
    const pipeline = redis.pipeline();
    upTo(5000).forEach((i) => pipeline.set(`io:p${i}`, i).get(`io:p${i}`));
    const replies = await pipeline.exec();
    assert.deepEqual(replies.filter((_, at) => at % 2 === 1), upTo(5000).map((i) => [null, String(i)]));
    const together = await Promise.all(upTo(2000).map((i) => redis.get(`io:p${i}`)));
    assert.deepEqual(together, upTo(2000).map(String));
  },

  async transactionsInOneSlot() {
    const replies = await redis.multi().set("{io:t}a", 1).incr("{io:t}a").get("{io:t}b").exec();
    assert.deepEqual(replies, [[null, "OK"], [null, 2], [null, null]]);
    const [one, other] = [connect(), connect()];
    await one.watch("{io:t}a");
    await other.set("{io:t}a", "touched");
    assert.equal(await one.multi().set("{io:t}a", "lost").exec(), null);
    assert.equal(await one.get("{io:t}a"), "touched");
    await assert.rejects(redis.multi().set("io:x", 1).set("io:y", 1).exec(), /CROSSSLOT|EXECABORT/);
    one.disconnect();
    other.disconnect();
  },

  async scripts() {
    redis.defineCommand("bump", { numberOfKeys: 1, lua: "return {KEYS[1], redis.call('INCR', KEYS[1])}" });
    for (const i of upTo(30)) assert.deepEqual(await redis.bump(`io:lua${i}`), [`io:lua${i}`, 1]);
    const sha = await redis.script("LOAD", "return 7");
    assert.deepEqual(await redis.script("EXISTS", sha), [1]);
    for (const i of upTo(30)) assert.equal(await redis.evalsha(sha, 1, `io:${i}`), 7);
  },

  async blocking() {
    const waiting = connect();
    assert.equal(await waiting.blpop("io:none", 0.05), null);
    const element = waiting.blpop("io:list", 20);
    await redis.rpush("io:list", "element");
    assert.deepEqual(await element, ["io:list", "element"]);
    waiting.disconnect();
  },

  async publishAndSubscribe() {
    const listener = connect();
    const seen = {};
    let count = 0;
    const keep = (channel, message) => {
      (seen[channel] ??= []).push(message);
      count += 1;
    };
    listener.on("message", keep);
    listener.on("pmessage", (_pattern, channel, message) => keep(channel, message));
    const channels = upTo(10).map((i) => `io:ch${i}`);
    assert.equal(await listener.subscribe(...channels), 10);
    assert.equal(await listener.psubscribe("io:pattern*"), 11);
    for (const i of upTo(1000)) await redis.publish(channels[i % 10], i);
    await redis.publish("io:pattern-x", "last");
    await until(() => count === 1001, `messages are lost: ${count} have come`);
    channels.forEach((channel, at) => {
      assert.deepEqual(seen[channel], upTo(100).map((i) => String(10 * i + at)));
    });
    assert.deepEqual(seen["io:pattern-x"], ["last"]);
    await listener.unsubscribe(...channels);
    listener.disconnect();
  },

  async streamsWithConsumerGroups() {
    await redis.xgroup("CREATE", "io:stream", "group", "0", "MKSTREAM");
    const ids = [];
    for (const i of upTo(20)) ids.push(await redis.xadd("io:stream", "*", "n", i));
    const seen = [];
    for (const consumer of ["one", "two"]) {
      const reply = await redis.xreadgroup("GROUP", "group", consumer, "COUNT", 10, "BLOCK", 20_000, "STREAMS", "io:stream", ">");
      seen.push(...reply[0][1].map(([id]) => id));
    }
    assert.deepEqual(seen, ids);
    assert.equal(await redis.xack("io:stream", "group", ...ids), 20);
  },

  async scanSeesEachKeyOnce() {
    const pipeline = redis.pipeline();
    upTo(3000).forEach((i) => pipeline.set(`io:scan:${i}`, i));
    await pipeline.exec();
    const keys = [];
    for await (const page of redis.scanStream({ match: "io:scan:*", count: 100 })) keys.push(...page);
    assert.deepEqual(keys.sort(), upTo(3000).map((i) => `io:scan:${i}`).sort());
  },

  async aPoolOf500() {
    const pool = upTo(500).map(() => connect());
    await Promise.all(pool.map((one, i) => one.set(`io:pool${i}`, i)));
    const replies = await Promise.all(pool.map((one, i) => one.get(`io:pool${i}`)));
    assert.deepEqual(replies, upTo(500).map(String));
    pool.forEach((one) => one.disconnect());
  },
});
console.log("ioredis", require("ioredis/package.json").version, /resp=\d/.exec(await redis.client("INFO"))[0]);
redis.disconnect();
