//! All end-to-end stories: one program, so that what they share is built once.
#![expect(clippy::unwrap_used, reason = "a story says where it fails")]

mod alerts;
mod cancel;
mod cases;
mod crashes;
mod crashes_by_hand;
mod cut_off;
mod deaths;
mod failover;
mod failovers;
mod go;
mod go_golden;
mod ha_cases;
mod ha_mails;
mod kills;
mod many_proxies;
mod moves;
mod one_agent;
mod outages;
mod pauses;
mod planned_cases;
mod playground;
mod queue;
mod recorded;
mod snapshots;
mod stops;
mod support;
mod switches;
mod trio;
mod watching;
mod waves;
