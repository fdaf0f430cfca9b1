"""Which types belong to one event loop: data for `nogilserve.apps.loopbound`.

An entry is "module:qualified.name" of a class, as the class itself says it (`__module__` and
`__qualname__`); an object is meant if that class is anywhere in the MRO of its type. Nothing named
here is ever imported. The names were compared with the sources of the packages on 2026-11-22:
anyio 4.16, asyncpg 0.32, SQLAlchemy 2.1, httpx 0.28, aiohttp 3.14, redis 8.1 and so on;
tests/test_loopbound_types.py compares them with whatever is installed.
"""

from typing import Final

__all__ = ["EXEMPT", "LOOP_BOUND", "OPAQUE", "TRANSPARENT", "UNBOUND_IF"]

LOOP_BOUND: Final = (
    # The standard library. Locks, events and queues take the first loop that waits on them.
    "asyncio.locks:Lock",
    "asyncio.locks:Event",
    "asyncio.locks:Condition",
    "asyncio.locks:Semaphore",
    "asyncio.locks:Barrier",
    "asyncio.queues:Queue",
    "_asyncio:Future",
    "_asyncio:Task",
    "asyncio.futures:Future",
    "asyncio.tasks:Task",
    "asyncio.taskgroups:TaskGroup",
    "asyncio.events:AbstractEventLoop",
    "asyncio.events:AbstractServer",
    "asyncio.events:Handle",
    "asyncio.runners:Runner",
    "asyncio.streams:StreamReader",
    "asyncio.streams:StreamWriter",
    "asyncio.subprocess:Process",
    "asyncio.transports:BaseTransport",
    "asyncio.mixins:_LoopBoundMixin",
    "uvloop.loop:Server",
    "uvloop.loop:UVHandle",
    # anyio: a primitive that is set or released on another loop wakes nobody there. Its classes
    # have the second name until they are asked for by the first.
    "anyio:CapacityLimiter",
    "anyio:Condition",
    "anyio:Event",
    "anyio:Lock",
    "anyio:Semaphore",
    "anyio.abc:TaskGroup",
    "anyio._core._synchronization:CapacityLimiter",
    "anyio._core._synchronization:Condition",
    "anyio._core._synchronization:Event",
    "anyio._core._synchronization:Lock",
    "anyio._core._synchronization:Semaphore",
    "anyio.abc._tasks:TaskGroup",
    "anyio.streams.memory:MemoryObjectReceiveStream",
    "anyio.streams.memory:MemoryObjectSendStream",
    # HTTP clients
    "aiohttp.client:ClientSession",
    "aiohttp.connector:BaseConnector",
    "httpcore:AsyncConnectionPool",
    "httpx:AsyncClient",
    "httpx:AsyncHTTPTransport",
    # Databases
    "aiomysql.connection:Connection",
    "aiomysql.pool:Pool",
    "asyncmy.connection:Connection",
    "asyncmy.pool:Pool",
    "asyncpg.connection:Connection",
    "asyncpg.pool:Pool",
    "databases.core:Database",
    "gel.asyncio_client:AsyncIOClient",
    "motor.core:AgnosticClient",
    "neo4j._async.driver:AsyncDriver",
    "psycopg:AsyncConnection",
    "psycopg_pool.pool_async:AsyncConnectionPool",
    "psycopg_pool.null_pool_async:AsyncNullConnectionPool",
    "pymongo.asynchronous.mongo_client:AsyncMongoClient",
    "sqlalchemy.ext.asyncio.engine:AsyncConnection",
    "sqlalchemy.ext.asyncio.engine:AsyncEngine",
    "sqlalchemy.ext.asyncio.session:AsyncSession",
    "tortoise.backends.base.client:BaseDBAsyncClient",
    # Redis and Valkey
    "arq.connections:ArqRedis",
    "coredis.client.basic:Client",
    "coredis.pool._basic:ConnectionPool",
    "redis.asyncio.client:PubSub",
    "redis.asyncio.client:Redis",
    "redis.asyncio.cluster:RedisCluster",
    "redis.asyncio.connection:AbstractConnection",
    "redis.asyncio.connection:ConnectionPool",
    "redis.asyncio.sentinel:Sentinel",
    "valkey.asyncio.client:Valkey",
    "valkey.asyncio.cluster:ValkeyCluster",
    "valkey.asyncio.connection:ConnectionPool",
    # Messages, searches, clouds
    "aio_pika.abc:AbstractChannel",
    "aio_pika.abc:AbstractConnection",
    "aio_pika.pool:Pool",
    "aiobotocore.client:AioBaseClient",
    "aiokafka.client:AIOKafkaClient",
    "aiokafka.consumer.consumer:AIOKafkaConsumer",
    "aiokafka.producer.producer:AIOKafkaProducer",
    "aiormq.abc:AbstractConnection",
    "broadcaster._base:Broadcast",
    "elastic_transport:AsyncTransport",
    "elasticsearch:AsyncElasticsearch",
    "grpc.aio._channel:Channel",
    "nats.aio.client:Client",
    "opensearchpy._async.client:AsyncOpenSearch",
    "taskiq.abc.broker:AsyncBroker",
    # Frameworks: what passes messages between connections through asyncio queues
    "channels.layers:InMemoryChannelLayer",
    "channels_redis.core:RedisChannelLayer",
    "engineio.async_client:AsyncClient",
    "engineio.async_server:AsyncServer",
    "litestar.channels.backends.memory:MemoryChannelsBackend",
    "litestar.events.emitter:SimpleEventEmitter",
    "socketio.async_client:AsyncClient",
    "socketio.async_server:AsyncServer",
)
"""Types that belong to one loop."""

UNBOUND_IF: Final = {
    # Without a pool each connection is made where it is used.
    "sqlalchemy.ext.asyncio.engine:AsyncEngine": (
        "sync_engine.pool",
        "sqlalchemy.pool.impl:NullPool",
    ),
    # Every Litestar application has one; without listeners nothing is ever sent through it.
    "litestar.events.emitter:SimpleEventEmitter": ("listeners", ""),
}
"""Exceptions: such an object does on every loop if the attribute is of that type ("": is empty)."""

OPAQUE: Final = (
    # These keep one of something for each loop, thread or context.
    "nogilserve.perloop:PerLoop",
    "_contextvars:Context",
    "_contextvars:ContextVar",
    "_thread:_local",
    "anyio.lowlevel:RunVar",
    "asgiref.local:Local",
    "channels_redis.pubsub:RedisPubSubChannelLayer",
    "weakref:WeakKeyDictionary",
    # These lead out of the application.
    "logging:Logger",
    "logging:Manager",
)
"""Types that are not looked into."""

EXEMPT: Final = (
    # Made anew by each start of the application's lifespan; Quart itself waits for it nowhere.
    ("quart.app:Quart", "shutdown_event"),
)
"""Attributes of frameworks that may hold a loop-bound object and do no harm: type, name."""

TRANSPARENT: Final = {
    "starlette.datastructures:State": "_state",
    "litestar.datastructures.state:State": "_state",
}
"""Types that show the items of a dictionary as attributes, and where they keep it."""
