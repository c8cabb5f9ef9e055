//! Carries decisions out: observe, permit, apply, move, play.
