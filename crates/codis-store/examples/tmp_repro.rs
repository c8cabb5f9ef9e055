//! tmp
use codis_store::{ConnectOptions, Product, Store};
use std::time::Instant;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let zk = codis_testkit::ZooKeeper::start();
    let store = Store::connect(&zk.url().parse().unwrap(), &ConnectOptions::control()).await.unwrap();
    let product = Product::new(store.clone(), "x".parse().unwrap());
    let mode = std::env::args().nth(1).unwrap_or_default();
    for i in 0..5 {
        let t = Instant::now();
        match mode.as_str() {
            "load" => println!(
                "{i} {:?} {:?}",
                product.load().await.map(|_| ()).map_err(|e| e.to_string()),
                t.elapsed()
            ),
            "many" => {
                let p: Vec<String> = (0..1024).map(|n| format!("/zk/x/{n}")).collect();
                println!(
                    "{i} {:?} {:?}",
                    store.get_many(&p).await.map(|_| ()).map_err(|e| e.to_string()),
                    t.elapsed()
                )
            }
            "one" => println!(
                "{i} {:?} {:?}",
                store.get("/zk/x").await.map(|_| ()).map_err(|e| e.to_string()),
                t.elapsed()
            ),
            "kids" => {
                let p: Vec<String> = (0..6).map(|n| format!("/zk/x/{n}")).collect();
                println!(
                    "{i} {:?} {:?}",
                    store.children_many(&p).await.map(|_| ()).map_err(|e| e.to_string()),
                    t.elapsed()
                )
            }
            _ => {}
        }
    }
    for line in std::fs::read_dir("/tmp").unwrap() {
        let _ = line;
    }
}
