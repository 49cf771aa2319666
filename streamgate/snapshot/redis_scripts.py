r"""What is kept in Redis, and the scripts that are the only ones to change it.

For each sequence, all with an expiry that each write renews:

    head     hash: epoch, owner, version, note; first (the position of the oldest step kept), next
             (of the step to come), rfirst, rnext (the same of results, which are counted from 0);
             snapshot, at (its position); ended (the reason, where it has)
    steps    list of entries    results    list of entries
    blobs    of entries that are too large for a script, each under a name of its own, with the
             epoch it was written in: what a fenced writer still writes is named by nothing

An entry is `\0` and data, or `\1` and the name of a blob; a result's has position and index before
it, a step's its position, and no data where nothing came of it. A script compares the epoch first,
so a writer that has lost the sequence changes nothing. Each script may be run again when its answer
was lost: what is there already is passed over.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from streamgate.snapshot.contract import KeptKey

PREFIX: Final = "streamgate"


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """The names of what is kept of one sequence."""

    head: str
    steps: str
    results: str
    blobs: str

    @classmethod
    def of(cls, key: KeptKey) -> "RedisKeys":
        # 7 and "7" are different sequences. The braces keep a sequence's keys together.
        kind = "s" if isinstance(key.sequence, str) else "i"
        model, sequence = quote(key.model, safe=""), quote(str(key.sequence), safe="")
        name = f"{PREFIX}:{{{model}/{kind}{sequence}}}"
        return cls(f"{name}:head", f"{name}:steps", f"{name}:results", f"{name}:blob")


def alive_key(owner: str) -> str:
    """What an owner shows that it lives with."""
    return f"{PREFIX}:alive:{owner}"


OPEN: Final = """
-- KEYS head steps results; ARGV owner version note ttl_ms. Answers the new epoch.
local time = redis.call('TIME')
local epoch = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local old = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
if old >= epoch then epoch = old + 1 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'owner', ARGV[1],
  'version', ARGV[2], 'note', ARGV[3], 'first', 0, 'next', 0, 'rfirst', 0, 'rnext', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return string.format('%.0f', epoch)
"""
"""Epochs are times, so that they rise even where the old one was forgotten."""

TAKE: Final = """
-- KEYS head steps results; ARGV owner ttl_ms alive_prefix, and whom it may be taken from: any,
-- dead, or again (the dead and oneself, where the answer to the last attempt was lost).
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return {'unknown'} end
local ended = redis.call('HGET', KEYS[1], 'ended')
if ended then return {'ended', ended, redis.call('LRANGE', KEYS[3], 0, -1)} end
local owner = redis.call('HGET', KEYS[1], 'owner')
local is_own = ARGV[4] == 'again' and owner == ARGV[1]
if ARGV[4] ~= 'any' and owner and not is_own and redis.call('EXISTS', ARGV[3] .. owner) == 1 then
  return {'owned', owner}
end
local time = redis.call('TIME')
local new = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(epoch) >= new then new = tonumber(epoch) + 1 end
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', new), 'owner', ARGV[1])
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return {'taken', redis.call('HGETALL', KEYS[1]),
  redis.call('LRANGE', KEYS[2], 0, -1), redis.call('LRANGE', KEYS[3], 0, -1)}
"""

WRITE: Final = """
-- KEYS head steps results; ARGV epoch ttl_ms, then operations. Answers ok, stale, gone or gap.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return 'gone' end
if epoch ~= ARGV[1] then return 'stale' end
local head = redis.call('HMGET', KEYS[1], 'first', 'next', 'rfirst', 'rnext')
local first, next = tonumber(head[1]), tonumber(head[2])
local rfirst, rnext = tonumber(head[3]), tonumber(head[4])
local function text(number) return string.format('%.0f', number) end
local answer = 'ok'
local i = 3
while i <= #ARGV do
  local operation, number, entry = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  i = i + 3
  if operation == 'snapshot' then
    if number + 1 >= first then
      redis.call('HSET', KEYS[1], 'snapshot', entry, 'at', text(number))
      redis.call('LTRIM', KEYS[2], number + 1 - first, -1)
      first = number + 1
      if next < first then next = first end
    end
  elseif operation == 'step' then
    if number > next then answer = 'gap' break end
    if number == next then
      redis.call('RPUSH', KEYS[2], entry)
      next = next + 1
    end
  elseif operation == 'void' then
    if number >= first and number < next then
      redis.call('LSET', KEYS[2], number - first, entry)
    end
  elseif operation == 'result' then
    if number > rnext then answer = 'gap' break end
    if number == rnext then
      redis.call('RPUSH', KEYS[3], entry)
      rnext = rnext + 1
    end
  elseif operation == 'drop' then
    if number > rfirst then
      redis.call('LTRIM', KEYS[3], number - rfirst, -1)
      rfirst = number
      if rnext < rfirst then rnext = rfirst end
    end
  elseif operation == 'end' then
    redis.call('UNLINK', KEYS[2])
    redis.call('HDEL', KEYS[1], 'snapshot', 'at')
    redis.call('HSET', KEYS[1], 'ended', entry)
  elseif operation == 'leave' then
    redis.call('HDEL', KEYS[1], 'owner')
  elseif operation == 'forget' then
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
    return 'ok'
  end
end
redis.call('HSET', KEYS[1], 'first', text(first), 'next', text(next), 'rfirst', text(rfirst),
  'rnext', text(rnext))
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return answer
"""
