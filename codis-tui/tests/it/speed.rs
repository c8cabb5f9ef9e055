//! How long a frame takes: told, not judged; a busy machine must not fail a test.

use std::time::Instant;

use codis_core::{Group, GroupId, SlotId};
use codis_tui::msg::Msg;
use codis_tui::update::update;
use codis_tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::fixture::{cluster, normal};

#[test]
fn a_frame_of_64_groups() {
    let mut big = cluster(0);
    for id in SlotId::all() {
        let group = GroupId(1 + u32::from(id.get()) % 64);
        let slot = big.slots[id.index()].as_mut().unwrap();
        slot.value = slot.value.online_at(group);
        big.groups.entry(group).or_insert(Group { id: group, servers: Vec::new() });
    }
    let mut model = normal(120, 40);
    let start = Instant::now();
    update(&mut model, Msg::Cluster(Box::new(big)));
    let taken = start.elapsed();
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    let frames = 100;
    let start = Instant::now();
    for _ in 0..frames {
        terminal.draw(|frame| view(&model, frame)).unwrap();
    }
    let per_frame = start.elapsed() / frames;
    println!("a snapshot of 1024 slots in 64 groups: {taken:?}; a frame at 120x40: {per_frame:?}");
    assert_eq!(model.board.groups.len(), 64);
}
