//! What keys do, pressed one after another.

use codis_tui::model::{Model, Overlay};
use codis_tui::msg::{Effect, Key, Msg};
use codis_tui::update::update;

use crate::fixture::{NOW_MS, normal, text};

fn press(model: &mut Model, keys: &[Key]) {
    for key in keys {
        assert_eq!(update(model, Msg::Key(*key)), [Effect::Draw], "{key:?} is drawn at once");
    }
}

fn chars(keys: &str) -> Vec<Key> {
    keys.chars().map(Key::Char).collect()
}

#[test]
fn the_cursor_walks_the_map_and_stays_in_it() {
    for (size, columns) in [((120, 40), 32), ((80, 24), 64)] {
        let mut model = normal(size.0, size.1);
        let mut walk = |keys: &[Key], to: u16| {
            press(&mut model, keys);
            assert_eq!(model.cursor.get(), to, "after {keys:?} with {columns} columns");
        };
        walk(&chars("hhh"), 422);
        walk(&chars("l"), 423);
        walk(&[Key::Down], 423 + columns);
        walk(&[Key::Up, Key::Up], 423 - columns);
        walk(&chars("0"), (423 - columns) / columns * columns);
        walk(&[Key::Left], (423 - columns) / columns * columns - 1);
        walk(&[Key::Right], (423 - columns) / columns * columns);
        walk(&chars("$"), (423 - columns) / columns * columns + columns - 1);
        walk(&[Key::Home], columns - 1);
        walk(&[Key::Up, Key::PageUp], columns - 1);
        walk(&[Key::PageDown], columns - 1 + 512);
        walk(&chars("G"), 1023);
        walk(&[Key::Down, Key::Right, Key::PageDown], 1023);
    }
}

#[test]
fn n_goes_round_the_slots_that_are_not_online() {
    let mut model = normal(120, 40);
    press(&mut model, &chars("nnnn"));
    assert_eq!(model.cursor.get(), 960, "426, 427, 428, then the wave that waits");
    press(&mut model, &chars("N"));
    assert_eq!(model.cursor.get(), 428);
    press(&mut model, &[Key::End, Key::Char('n')]);
    assert_eq!(model.cursor.get(), 423, "round the end");
}

#[test]
fn a_key_without_a_meaning_says_so_for_two_seconds() {
    let mut model = normal(80, 24);
    press(&mut model, &chars("Z"));
    assert!(text(&model).contains(" Z means nothing here: ? shows the keys"), "{}", text(&model));
    update(&mut model, Msg::Tick { now_ms: NOW_MS + 1_999 });
    assert!(model.notice.is_some());
    update(&mut model, Msg::Tick { now_ms: NOW_MS + 2_000 });
    assert!(model.notice.is_none());
}

#[test]
fn overlays_close_and_only_q_quits() {
    let mut model = normal(80, 24);
    press(&mut model, &chars("?j"));
    assert_eq!(
        (model.overlay, model.cursor.get()),
        (None, 425),
        "any key closes the help and does nothing else"
    );
    press(&mut model, &chars("i"));
    assert_eq!(model.overlay, Some(Overlay::Lists(0)));
    press(&mut model, &chars("jj"));
    assert_eq!(model.overlay, Some(Overlay::Lists(2)), "lists scroll");
    press(&mut model, &[Key::Esc, Key::Esc, Key::Esc]);
    assert_eq!(model.overlay, None);
    for quit in [Key::Char('q'), Key::Ctrl('c')] {
        assert_eq!(update(&mut model, Msg::Key(quit)), [Effect::Quit]);
    }
}

#[test]
fn q_quits_from_every_overlay() {
    for overlay in [Overlay::Help, Overlay::Lists(0)] {
        let mut model = normal(80, 24);
        model.overlay = Some(overlay);
        assert_eq!(update(&mut model, Msg::Key(Key::Char('q'))), [Effect::Quit]);
    }
}

#[test]
fn r_asks_again() {
    let mut model = normal(80, 24);
    assert_eq!(update(&mut model, Msg::Key(Key::Char('r'))), [Effect::PollNow, Effect::Draw]);
}

#[test]
fn what_has_not_changed_is_not_drawn() {
    use crate::fixture::{cluster, proxy_answers, server_answers};
    let mut model = normal(80, 24);
    assert_eq!(update(&mut model, Msg::Servers(server_answers())), []);
    assert_eq!(update(&mut model, Msg::Proxies(proxy_answers())), []);
    assert_eq!(update(&mut model, Msg::Tick { now_ms: NOW_MS + 300 }), []);
    assert_eq!(update(&mut model, Msg::Tick { now_ms: NOW_MS + 1_000 }), [Effect::DrawSoon]);
    let mut quiet = cluster(0);
    quiet.moves.clear();
    update(&mut model, Msg::Cluster(Box::new(quiet.clone())));
    quiet.taken_ms += 500;
    quiet.read_ms += 1;
    assert_eq!(update(&mut model, Msg::Cluster(Box::new(quiet))), []);
}
