//! Says what plain `cargo test` leaves out. It has no harness, which would hide the message.

fn main() {
    // Set by `cargo xtask test`, which leaves nothing out.
    if std::env::var_os("PIPEIT_SKIP_LOG").is_none() {
        println!(
            "\nleft out: tests on aarch64 under QEMU, the model checker loom, and all that is"
        );
        println!("          built for aarch64-unknown-none;");
        println!("          `cargo xtask test` sets up what they need and runs them, too\n");
    }
}
