//! With a server's address in CODIS_FUZZ_REDIS its `COMMAND GETKEYS` is compared, too.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code)]
mod checks;
#[path = "../getkeys.rs"]
mod getkeys;

use std::{cell::RefCell, net::TcpStream};

thread_local! {
    static SERVER: RefCell<Option<TcpStream>> = RefCell::new(std::env::var("CODIS_FUZZ_REDIS").ok().map(|addr| {
        TcpStream::connect(&addr).expect("cannot connect to the server of CODIS_FUZZ_REDIS")
    }));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let args = checks::request_of(data);
    checks::keys(&args);
    SERVER.with_borrow_mut(|server| {
        if let Some(stream) = server {
            checks::keys_as_a_server_finds_them(&args, &getkeys::ask(stream, &args));
        }
    });
});
