//! Slots, groups, proxies, snapshots and the planners that decide. No IO, no runtime, no clock.
