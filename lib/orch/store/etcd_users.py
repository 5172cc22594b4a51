"""Sees to it that etcd has orch's users, each with its role, and that it serves nobody else.

A user is known by the common name of its client certificate: there are no passwords, and no tokens that would have to
be renewed (docs/adr/0019). Whatever of it is there already is left alone, so this can be run at every start: that of a
new cluster, of one whose etcd knew no users yet, and of one whose roles another version of orch has made.
"""

from __future__ import annotations

from collections.abc import Mapping

from orch.config import EtcdConfig
from orch.errors import StoreError
from orch.store import etcd_connection
from orch.store.etcd_connection import Cluster, Method
from orch.store.roles import ROOT, Permission, Role
from orch_pb.etcd import rpc_pb2

_ENABLE = Method("/etcdserverpb.Auth/AuthEnable", rpc_pb2.AuthEnableResponse)
_USER_ADD = Method("/etcdserverpb.Auth/UserAdd", rpc_pb2.AuthUserAddResponse)
_USER_GET = Method("/etcdserverpb.Auth/UserGet", rpc_pb2.AuthUserGetResponse)
_USER_LIST = Method("/etcdserverpb.Auth/UserList", rpc_pb2.AuthUserListResponse)
_USER_GRANT = Method("/etcdserverpb.Auth/UserGrantRole", rpc_pb2.AuthUserGrantRoleResponse)
_USER_REVOKE = Method("/etcdserverpb.Auth/UserRevokeRole", rpc_pb2.AuthUserRevokeRoleResponse)
_ROLE_ADD = Method("/etcdserverpb.Auth/RoleAdd", rpc_pb2.AuthRoleAddResponse)
_ROLE_GET = Method("/etcdserverpb.Auth/RoleGet", rpc_pb2.AuthRoleGetResponse)
_ROLE_LIST = Method("/etcdserverpb.Auth/RoleList", rpc_pb2.AuthRoleListResponse)
_ROLE_GRANT = Method("/etcdserverpb.Auth/RoleGrantPermission", rpc_pb2.AuthRoleGrantPermissionResponse)
_ROLE_REVOKE = Method("/etcdserverpb.Auth/RoleRevokePermission", rpc_pb2.AuthRoleRevokePermissionResponse)


async def settle(config: EtcdConfig, users: Mapping[str, Role]) -> int:
    """Give etcd these users, by name, and let it serve only who has one; return how many things were changed.

    `config` says where etcd is, with the certificate of the user root. Other users and roles stay as they are. Raises
    ConfigError, UnavailableError when etcd cannot be reached, and StoreError when it refuses.
    """
    if not config.cert_file:
        raise StoreError("etcd's users are known by their certificates, and none is given for root")
    cluster = await etcd_connection.connect(
        config.endpoints,
        ca=config.ca_file,
        cert=config.cert_file,
        key=config.key_file,
        dial_timeout=config.dial_timeout,
        request_timeout=_TIMEOUT,
    )
    users_of = _Users(cluster)
    try:
        await users_of.settle(users)
    except StoreError as error:
        raise StoreError(f"{error}; is {config.cert_file} the certificate of etcd's user root?") from error
    finally:
        await cluster.close()
    return users_of.changes


class _Users:
    """The users and roles of one etcd."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.changes = 0

    async def settle(self, users: Mapping[str, Role]) -> None:
        roles = set((await self._cluster.call(_ROLE_LIST, rpc_pb2.AuthRoleListRequest(), "role_list")).roles)
        there = set((await self._cluster.call(_USER_LIST, rpc_pb2.AuthUserListRequest(), "user_list")).users)
        if ROOT not in roles:
            await self._cluster.call(_ROLE_ADD, rpc_pb2.AuthRoleAddRequest(name=ROOT), "role_add")
            self.changes += 1
        for role in users.values():
            await self._settle_role(role, known=role.name in roles)
        for user, role in {ROOT: ROOT, **{user: role.name for user, role in users.items()}}.items():
            await self._settle_user(user, role, known=user in there)
        # Enabling what is enabled is no error. From here on a request without a user is refused.
        await self._cluster.call(_ENABLE, rpc_pb2.AuthEnableRequest(), "auth_enable")

    async def _settle_role(self, role: Role, *, known: bool) -> None:
        """Give a role its permissions, and no others."""
        found: set[Permission] = set()
        if known:
            answer = await self._cluster.call(_ROLE_GET, rpc_pb2.AuthRoleGetRequest(role=role.name), "role_get")
            found = {_permission(each) for each in answer.perm}
        else:
            await self._cluster.call(_ROLE_ADD, rpc_pb2.AuthRoleAddRequest(name=role.name), "role_add")
            self.changes += 1
        wanted = set(role.permissions)
        # What is granted first and taken afterwards is missing at no time.
        for each in sorted(wanted - found):
            kind = rpc_pb2.Permission.READWRITE if each.write else rpc_pb2.Permission.READ
            permission = rpc_pb2.Permission(permType=kind, key=each.start, range_end=each.end)
            request = rpc_pb2.AuthRoleGrantPermissionRequest(name=role.name, perm=permission)
            await self._cluster.call(_ROLE_GRANT, request, "role_grant")
            self.changes += 1
        kept = {(each.start, each.end) for each in wanted}
        for start, end in sorted({(each.start, each.end) for each in found} - kept):
            request = rpc_pb2.AuthRoleRevokePermissionRequest(role=role.name, key=start, range_end=end)
            await self._cluster.call(_ROLE_REVOKE, request, "role_revoke")
            self.changes += 1

    async def _settle_user(self, user: str, role: str, *, known: bool) -> None:
        """Give a user its role, and no other; nobody can log in as it by a password."""
        found: set[str] = set()
        if known:
            found = set((await self._cluster.call(_USER_GET, rpc_pb2.AuthUserGetRequest(name=user), "user_get")).roles)
        else:
            options = rpc_pb2.UserAddOptions(no_password=True)
            await self._cluster.call(_USER_ADD, rpc_pb2.AuthUserAddRequest(name=user, options=options), "user_add")
            self.changes += 1
        if role not in found:
            request = rpc_pb2.AuthUserGrantRoleRequest(user=user, role=role)
            await self._cluster.call(_USER_GRANT, request, "user_grant")
            self.changes += 1
        for other in sorted(found - {role}):
            request = rpc_pb2.AuthUserRevokeRoleRequest(name=user, role=other)
            await self._cluster.call(_USER_REVOKE, request, "user_revoke")
            self.changes += 1


def _permission(found: rpc_pb2.Permission) -> Permission:
    return Permission(found.key, found.range_end, found.permType != rpc_pb2.Permission.READ)


_TIMEOUT = 10.0
"""Seconds for each of a few requests; a new etcd serves once it has elected itself."""
