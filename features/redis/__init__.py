"""The online store on Redis, Valkey or a cluster of them."""
