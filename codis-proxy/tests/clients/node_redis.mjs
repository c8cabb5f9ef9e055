// node-redis through codis-proxy in front of three servers, with its default settings and with RESP3.
// usage: node_redis.mjs PORT, in a directory from which the library is found.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

import { run, until, upTo } from "./node.mjs";

const require = createRequire(join(process.env.CLIENT_LIBRARIES, "x.js"));
const { createClient, createClientPool } = require("redis");
const url = `redis://127.0.0.1:${process.argv[2]}`;

async function connect(options = {}) {
  const client = createClient({ url, ...options });
  client.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  return client.connect();
}

for (const options of [{}, { RESP: 3 }]) {
  const redis = await connect(options);
  const key = (name) => `node${options.RESP ?? 2}:${name}`;

  await run({
    async stringsAndHashes() {
      assert.equal(await redis.set(key("a"), "1"), "OK");
      assert.equal(await redis.get(key("a")), "1");
      assert.equal(await redis.get(key("none")), null);
      await redis.hSet(key("h"), { f: "v", g: "w" });
      assert.deepEqual({ ...(await redis.hGetAll(key("h"))) }, { f: "v", g: "w" });
      await redis.zAdd(key("z"), { score: 1.5, value: "m" });
      assert.equal(await redis.zScore(key("z"), "m"), 1.5);
      const pairs = upTo(100).map((i) => [key(`m${i}`), String(i)]);
      assert.equal(await redis.mSet(pairs), "OK");
      const values = await redis.mGet([...pairs.map(([name]) => name), key("none")]);
      assert.deepEqual(values, [...pairs.map(([, value]) => value), null]);
      assert.equal(await redis.del(pairs.map(([name]) => name)), 100);
    },

    async pipelines() {
      await Promise.all(upTo(5000).map((i) => redis.set(key(`p${i}`), String(i))));
      const replies = await Promise.all(upTo(5000).map((i) => redis.get(key(`p${i}`))));
      assert.deepEqual(replies, upTo(5000).map(String));
    },

    async transactionsInOneSlot() {
      const [a, b] = [key("{t}a"), key("{t}b")];
      assert.deepEqual(await redis.multi().set(a, "1").incr(a).get(b).exec(), ["OK", 2, null]);
      const other = await connect(options);
      await other.watch(a);
      await redis.set(a, "touched");
      await assert.rejects(other.multi().set(a, "lost").exec(), /watched keys/i);
      assert.equal(await other.get(a), "touched");
      other.destroy();
    },

    async scripts() {
      const sha = await redis.scriptLoad("return {KEYS[1], redis.call('INCR', KEYS[1])}");
      for (const i of upTo(30)) {
        assert.deepEqual(await redis.evalSha(sha, { keys: [key(`lua${i}`)] }), [key(`lua${i}`), 1]);
      }
    },

    async blocking() {
      const waiting = await connect(options);
      assert.equal(await waiting.blPop(key("none"), 0.05), null);
      const element = waiting.blPop(key("list"), 20);
      await redis.rPush(key("list"), "element");
      assert.deepEqual({ ...(await element) }, { key: key("list"), element: "element" });
      waiting.destroy();
    },

    async publishAndSubscribe() {
      const listener = await connect(options);
      const seen = {};
      let count = 0;
      const keep = (message, channel) => {
        (seen[channel] ??= []).push(message);
        count += 1;
      };
      const channels = upTo(10).map((i) => key(`ch${i}`));
      await listener.subscribe(channels, keep);
      await listener.pSubscribe(key("pattern*"), keep);
      for (const i of upTo(1000)) await redis.publish(channels[i % 10], String(i));
      await redis.publish(key("pattern-x"), "last");
      await until(() => count === 1001, `messages are lost: ${count} have come`);
      channels.forEach((channel, at) => {
        assert.deepEqual(seen[channel], upTo(100).map((i) => String(10 * i + at)));
      });
      assert.deepEqual(seen[key("pattern-x")], ["last"]);
      await listener.unsubscribe(channels);
      listener.destroy();
    },

    async streamsWithConsumerGroups() {
      const stream = key("stream");
      await redis.xGroupCreate(stream, "group", "0", { MKSTREAM: true });
      const ids = [];
      for (const i of upTo(20)) ids.push(await redis.xAdd(stream, "*", { n: String(i) }));
      const seen = [];
      for (const consumer of ["one", "two"]) {
        const reply = await redis.xReadGroup("group", consumer, { key: stream, id: ">" }, { COUNT: 10, BLOCK: 20_000 });
        const entries = Array.isArray(reply) ? reply[0].messages : Object.values(reply)[0];
        seen.push(...entries.map((entry) => entry.id ?? entry[0]));
      }
      assert.deepEqual(seen, ids);
      assert.equal(await redis.xAck(stream, "group", ids), 20);
    },

    async scanSeesEachKeyOnce() {
      await Promise.all(upTo(3000).map((i) => redis.set(key(`scan:${i}`), String(i))));
      const keys = [];
      for await (const page of redis.scanIterator({ MATCH: key("scan:*"), COUNT: 100 })) keys.push(...page);
      assert.deepEqual(keys.sort(), upTo(3000).map((i) => key(`scan:${i}`)).sort());
    },

    async aPoolOf500() {
      const pool = createClientPool({ url, ...options }, { minimum: 500, maximum: 500 });
      pool.on("error", (error) => {
        console.error(error);
        process.exit(1);
      });
      await pool.connect();
      const replies = await Promise.all(upTo(2000).map((i) => pool.set(key(`pool${i}`), String(i))));
      assert.ok(replies.every((reply) => reply === "OK"));
      const values = await Promise.all(upTo(2000).map((i) => pool.get(key(`pool${i}`))));
      assert.deepEqual(values, upTo(2000).map(String));
      pool.destroy();
    },
  });
  const info = await redis.sendCommand(["CLIENT", "INFO"]);
  console.log("node-redis", require("redis/package.json").version, /resp=\d/.exec(String(info))[0]);
  redis.destroy();
}
