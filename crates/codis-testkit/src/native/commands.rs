//! The commands that a codis-server 2.8.21 knows: those of Redis 2.8, with the numbers of arguments
//! of that time, and the SLOTS* family.

/// Name and arity of Redis 2.8's commands; negative: at least that many words.
const COMMANDS: &str = "\
append 3 auth 2 bgrewriteaof 1 bgsave 1 bitcount -2 bitop -4 bitpos -3 blpop -3 brpop -3 brpoplpush 4 \
client -2 command 0 config -2 dbsize 1 debug -2 decr 2 decrby 3 del -2 discard 1 dump 2 echo 2 eval -3 \
evalsha -3 exec 1 exists 2 expire 3 expireat 3 flushall 1 flushdb 1 get 2 getbit 3 getrange 4 getset 3 \
hdel -3 hexists 3 hget 3 hgetall 2 hincrby 4 hincrbyfloat 4 hkeys 2 hlen 2 hmget -3 hmset -4 hscan -3 \
hset 4 hsetnx 4 hvals 2 incr 2 incrby 3 incrbyfloat 3 info -1 keys 2 lastsave 1 latency -2 lindex 3 \
linsert 5 llen 2 lpop 2 lpush -3 lpushx 3 lrange 4 lrem 4 lset 4 ltrim 4 mget -2 migrate -6 monitor 1 \
move 3 mset -3 msetnx -3 multi 1 object 3 persist 2 pexpire 3 pexpireat 3 pfadd -2 pfcount -2 pfmerge -2 \
ping 1 psetex 4 psubscribe -2 psync 3 pttl 2 publish 3 pubsub -2 punsubscribe -1 quit 1 randomkey 1 \
rename 3 renamenx 3 replconf -1 restore 4 role 1 rpop 2 rpoplpush 3 rpush -3 rpushx 3 sadd -3 save 1 \
scan -2 scard 2 script -2 sdiff -2 sdiffstore -3 select 2 set -3 setbit 4 setex 4 setnx 3 setrange 4 \
shutdown -1 sinter -2 sinterstore -3 sismember 3 slaveof 3 slowlog -2 smembers 2 smove 4 sort -2 spop 2 \
srandmember -2 srem -3 sscan -3 strlen 2 subscribe -2 substr 4 sunion -2 sunionstore -3 sync 1 time 1 \
ttl 2 type 2 unsubscribe -1 unwatch 1 watch -2 zadd -4 zcard 2 zcount 4 zincrby 4 zinterstore -4 \
zlexcount 4 zrange -4 zrangebylex -4 zrangebyscore -4 zrank 3 zrem -3 zremrangebylex 4 \
zremrangebyrank 4 zremrangebyscore 4 zrevrange -4 zrevrangebylex -4 zrevrangebyscore -4 zrevrank 3 \
zscan -3 zscore 3 zunionstore -4";

/// Name, arity and flags of the SLOTS* commands.
pub(super) const SLOTS: [(&str, i64, &[&str]); 9] = [
    ("slotsinfo", -1, &["readonly", "fast"]),
    ("slotsdel", -2, &["write"]),
    ("slotshashkey", -1, &["readonly", "fast"]),
    ("slotscheck", 1, &["readonly"]),
    ("slotsmgrtslot", 5, &["write", "admin"]),
    ("slotsmgrtone", 5, &["write", "admin"]),
    ("slotsmgrttagslot", 5, &["write", "admin"]),
    ("slotsmgrttagone", 5, &["write", "admin"]),
    ("slotsrestore", -4, &["write", "denyoom", "admin"]),
];

/// All names with their arities.
pub(super) fn all() -> impl Iterator<Item = (&'static str, i64)> {
    let words: Vec<&'static str> = COMMANDS.split_ascii_whitespace().collect();
    let plain: Vec<_> =
        words.chunks_exact(2).filter_map(|pair| Some((pair[0], pair[1].parse().ok()?))).collect();
    plain.into_iter().chain(SLOTS.iter().map(|(name, arity, _)| (*name, *arity)))
}

/// The arity of a command, given in lower case.
pub(super) fn arity(name: &str) -> Option<i64> {
    all().find(|(known, _)| *known == name).map(|(_, arity)| arity)
}

/// Why a request is not a valid command of that version; its text is the error reply.
pub(super) fn refusal(args: &[Vec<u8>]) -> Option<String> {
    let word = String::from_utf8_lossy(&args[0]).into_owned();
    let name = word.to_ascii_lowercase();
    let given = i64::try_from(args.len()).unwrap_or(i64::MAX);
    match arity(&name) {
        None => Some(format!("-ERR unknown command '{word}'\r\n")),
        Some(arity) if (arity > 0 && given != arity) || given < -arity => {
            Some(format!("-ERR wrong number of arguments for '{name}' command\r\n"))
        }
        Some(_) => None,
    }
}
