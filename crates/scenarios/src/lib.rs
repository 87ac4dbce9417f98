//! What the scenario tests share. Each test in `tests/` carries the name of the behaviour it shows, and needs root.
//!
//! | file | behaviours |
//! | --- | --- |
//! | `frames.rs` | what leaves and reaches which port: unmodified frames, learning, guard, isolation, ageing, limits |
//! | `takeover.rs` | the NIC taken over and given back, crashes in between, confirmation |
//! | `guests.rs` | DHCP and a real guest, offloads on |
//! | `failures.rs` | NICs, namespaces and VMMs that go away and come back |
//! | `vhost.rs` | vhost-user ports: sockets, roles, states, guests, migration, hostile front ends, the first frame after silence |
//! | `xdp.rs` | uplinks and netdevs by AF_XDP: which way is chosen, told and changed, and what it outlives |
//! | `bad_input.rs` | what is refused, and that nothing changes then |
