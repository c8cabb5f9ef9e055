//! Every state of the screen as text at three sizes; colours by cell.

use codis_core::{Cluster, Gap, MoveState, ProductName, Slot, SlotId, Versioned};
use codis_tui::model::{CHANGED_MS, Overlay};
use codis_tui::msg::{Key, Msg};
use codis_tui::theme::{self, Depth, Kind, Theme};
use codis_tui::update::update;
use codis_tui::view::view;
use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use crate::fixture::{self, DARK, NOW_MS, buffer, fresh, normal, slot, text, watching};

#[test]
fn normal_120x40() {
    assert_snapshot!(text(&normal(120, 40)));
}

#[test]
fn normal_80x24() {
    assert_snapshot!(text(&normal(80, 24)));
}

#[test]
fn normal_100x38_loses_the_right_of_the_pane() {
    assert_snapshot!(text(&normal(100, 38)));
}

#[test]
fn normal_200x60() {
    assert_snapshot!(text(&normal(200, 60)));
}

#[test]
fn too_small_38x9() {
    assert_snapshot!(text(&normal(38, 9)));
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [(1, 1), (2, 30), (300, 3), (80, 25), (99, 40), (100, 37), (120, 38), (300, 100)] {
        let mut model = normal(width, height);
        for overlay in [None, Some(Overlay::Help), Some(Overlay::Lists(0)), Some(Overlay::Lists(12))] {
            model.overlay = overlay;
            text(&model);
        }
    }
}

#[test]
fn a_terminal_that_changed_its_size_before_the_model_knows_is_drawn() {
    let sizes = [(120, 40), (80, 24), (38, 9), (1, 1), (200, 60)];
    for (model, terminal) in sizes.iter().flat_map(|a| sizes.map(|b| (*a, b))) {
        let mut model = normal(model.0, model.1);
        let mut screen = Terminal::new(TestBackend::new(terminal.0, terminal.1)).unwrap();
        screen.draw(|frame| view(&model, frame)).unwrap();
        let drawn = screen.backend().buffer().clone();
        model.size = terminal;
        assert_eq!(drawn, buffer(&model));
    }
}

#[test]
fn ascii_has_the_same_layout_and_no_other_character() {
    for (width, height) in [(120, 40), (80, 24)] {
        let ascii = text(&watching((width, height), DARK, &theme::ASCII));
        assert!(ascii.is_ascii(), "{ascii}");
        let unicode = text(&normal(width, height));
        for (a, u) in ascii.lines().zip(unicode.lines()) {
            assert_eq!(a.chars().count(), u.chars().count(), "{a}\n{u}");
        }
    }
    assert_snapshot!(text(&watching((120, 40), DARK, &theme::ASCII)));
}

#[test]
fn ascii_holds_for_words_from_elsewhere_too() {
    let mut model = watching((120, 40), DARK, &theme::ASCII);
    let why = "Zeitüberschreitung → später".to_owned();
    update(&mut model, Msg::StoreLost { why, next_try_ms: NOW_MS });
    let text = text(&model);
    assert!(text.contains("Zeit?berschreitung > sp?ter"), "{text}");
}

fn product(slots: impl Fn(SlotId) -> Option<Slot>) -> Cluster {
    let mut cluster = Cluster::empty("feed".parse::<ProductName>().unwrap());
    for id in SlotId::all() {
        cluster.slots[id.index()] = slots(id).map(|slot| Versioned::new(slot, 0));
    }
    cluster
}

#[test]
fn a_product_without_groups_says_what_comes_first() {
    for (size, name) in [((120, 40), "empty_120x40"), ((80, 24), "empty_80x24")] {
        let mut model = fresh(size, DARK, &theme::UNICODE);
        update(&mut model, Msg::Cluster(Box::new(product(|id| Some(Slot::unassigned(id))))));
        assert_snapshot!(name, text(&model));
    }
}

#[test]
fn a_product_without_slots_says_how_to_make_them() {
    let mut model = fresh((80, 24), DARK, &theme::UNICODE);
    update(&mut model, Msg::Cluster(Box::new(product(|_| None))));
    assert_snapshot!(text(&model));
}

#[test]
fn an_unknown_product_says_so() {
    let mut model = fresh((80, 24), DARK, &theme::UNICODE);
    update(&mut model, Msg::NoProduct);
    assert_snapshot!(text(&model));
}

#[test]
fn loading_is_silent_first_and_then_says_what_it_waits_for() {
    let mut model = fresh((80, 24), DARK, &theme::UNICODE);
    update(&mut model, Msg::Tick { now_ms: NOW_MS - 5_400 + 200 });
    assert!(!text(&model).contains("Reading"));
    update(&mut model, Msg::Tick { now_ms: NOW_MS - 5_400 + 1_200 });
    assert_snapshot!(text(&model));
}

fn lost(width: u16, height: u16) -> codis_tui::model::Model {
    let mut model = normal(width, height);
    let why = "no answer from 10.0.7.11:2181 (connection refused)".to_owned();
    update(&mut model, Msg::Tick { now_ms: NOW_MS + 46_600 });
    update(&mut model, Msg::StoreLost { why, next_try_ms: NOW_MS + 49_600 });
    model
}

#[test]
fn a_lost_store_leaves_the_picture_and_tells_its_age() {
    assert_snapshot!("store_lost_120x40", text(&lost(120, 40)));
    assert_snapshot!("store_lost_80x24", text(&lost(80, 24)));
    let drawn = buffer(&lost(120, 40));
    assert!(drawn[(8, 6)].modifier.contains(Modifier::ITALIC), "old data is in the style of old data");
}

#[test]
fn a_store_that_comes_back_takes_the_banner_away() {
    let mut model = lost(120, 40);
    update(&mut model, Msg::Cluster(Box::new(fixture::cluster(0))));
    let text = text(&model);
    assert!(!text.contains("STORE LOST"), "{text}");
    assert!(text.contains("store back after 47 s"), "{text}");
}

#[test]
fn a_store_that_never_answered_is_a_banner_too() {
    let mut model = fresh((80, 24), DARK, &theme::UNICODE);
    update(&mut model, Msg::StoreLost { why: "connection refused".to_owned(), next_try_ms: NOW_MS });
    let text = text(&model);
    assert!(text.contains("▲ NO STORE: connection refused. Next try in 6 s."), "{text}");
}

#[test]
fn a_lost_master_is_a_banner_and_a_critical_finding() {
    let mut model = normal(120, 40);
    let mut answers = fixture::server_answers();
    answers.insert(fixture::addr("10.0.7.51:6381"), Err("connection refused".to_owned()));
    update(&mut model, Msg::Servers(answers));
    let text = text(&model);
    let line = "▲ SERVER LOST: 10.0.7.51:6381, master of group 1: connection refused";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("✗ 1 critical  ▲ 1 warning"), "{text}");
    assert!(text.contains("    1     79                ?"), "the keys of group 1 are not known: {text}");
}

#[test]
fn a_slot_that_cannot_be_read_is_shown_and_the_others_stay() {
    let mut cluster = fixture::cluster(0);
    cluster.slots[425] = None;
    let path = "/zk/codis/db_feed/slots/slot_425".to_owned();
    cluster.gaps.push(Gap { path, why: "malformed JSON at byte 17".to_owned() });
    let mut model = normal(120, 40);
    update(&mut model, Msg::Cluster(Box::new(cluster)));
    let text = text(&model);
    assert!(text.contains("slot 425          not readable"), "{text}");
    assert!(text.contains("✗ malformed JSON at byte 17"), "{text}");
    assert!(text.contains("? unknown 1"), "{text}");
    assert!(text.contains("»8 »6? »4»2»1"), "{text}");
}

#[test]
fn a_paused_move_says_why() {
    let mut cluster = fixture::cluster(0);
    for task in &mut cluster.moves {
        task.value.state = MoveState::Paused;
        task.value.note = "13 has no room".to_owned();
    }
    let mut model = normal(120, 40);
    update(&mut model, Msg::Cluster(Box::new(cluster)));
    let text = text(&model);
    assert!(text.contains("paused 13 has no room"), "{text}");
}

#[test]
fn a_move_without_a_mover_is_stuck() {
    let mut cluster = fixture::cluster(0);
    cluster.mover = None;
    let mut model = normal(120, 40);
    update(&mut model, Msg::Cluster(Box::new(cluster)));
    let text = text(&model);
    assert!(text.contains("»!»!»!»!»!»!"), "{text}");
    assert!(text.contains("»! stuck 22"), "{text}");
    model.board.findings.retain(|finding| finding.place == "moves");
    let text = self::text(&model);
    assert!(
        text.contains("66 tasks wait and nobody works on the queue (moves): codisctl migrate run"),
        "{text}"
    );
}

#[test]
fn help_is_made_from_the_table_of_keys() {
    let mut model = normal(80, 24);
    update(&mut model, Msg::Key(Key::Char('?')));
    assert_snapshot!(text(&model));
}

#[test]
fn lists_show_everything() {
    for (size, name) in [((120, 40), "lists_120x40"), ((80, 24), "lists_80x24")] {
        let mut model = normal(size.0, size.1);
        update(&mut model, Msg::Key(Key::Char('i')));
        assert_snapshot!(name, text(&model));
    }
}

fn background(model: &codis_tui::model::Model, x: u16, y: u16) -> Color {
    buffer(model)[(x, y)].bg
}

#[test]
fn groups_have_the_colours_of_the_palette_in_order() {
    let mut model = normal(120, 40);
    model.cursor = slot(1023);
    // Slot 0 of group 1, slot 86 of group 2, slot 172 of group 3; text is black on all of them.
    assert_eq!(background(&model, 6, 4), Color::Indexed(226));
    assert_eq!(background(&model, 6 + 22 * 2 + 2, 6), Color::Indexed(99));
    assert_eq!(background(&model, 6 + 12 * 2 + 1, 9), Color::Indexed(202));
    assert_eq!(buffer(&model)[(6, 4)].fg, Color::Indexed(16));
}

#[test]
fn a_migrating_slot_has_the_source_left_and_the_destination_right() {
    let mut model = normal(120, 40);
    model.cursor = slot(0);
    // Slot 425: row 416, column 9. Groups 5 and 13 are the 5th and 13th of the palette.
    let (x, y) = (6 + 9 * 2 + 1, 17);
    assert_eq!(
        (background(&model, x, y), background(&model, x + 1, y)),
        (Color::Indexed(32), Color::Indexed(50))
    );
}

#[test]
fn the_cursor_is_reversed_and_a_change_is_bold_for_two_seconds() {
    let mut model = normal(120, 40);
    model.cursor = slot(423);
    let (x, y) = (6 + 7 * 2, 17);
    assert!(buffer(&model)[(x, y)].modifier.contains(Modifier::REVERSED));
    model.cursor = slot(0);
    assert!(!buffer(&model)[(x, y)].modifier.contains(Modifier::REVERSED));
    // Between the two snapshots of the fixture, slot 423 went from 5 to 8 tenths.
    assert!(buffer(&model)[(x, y)].modifier.contains(Modifier::BOLD));
    update(&mut model, Msg::Tick { now_ms: NOW_MS + CHANGED_MS });
    assert!(!buffer(&model)[(x, y)].modifier.contains(Modifier::BOLD));
}

#[test]
fn text_is_the_same_in_every_theme_and_mono_has_no_colour() {
    let dark = text(&normal(120, 40));
    for kind in [Kind::Light, Kind::ColourBlind, Kind::Mono] {
        for depth in [Depth::Indexed, Depth::Sixteen] {
            let model = watching((120, 40), Theme { kind, depth }, &theme::UNICODE);
            assert_eq!(text(&model), dark);
            if kind == Kind::Mono {
                let colours = [Color::Reset];
                let drawn = buffer(&model);
                assert!(
                    drawn.content.iter().all(|cell| colours.contains(&cell.fg) && colours.contains(&cell.bg))
                );
            }
        }
    }
}
