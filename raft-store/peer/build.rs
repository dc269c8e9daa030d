//! Compiles the protocol between members. protox reads it, so that no machine needs a protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["peer.proto"], ["proto"])?;
    println!("cargo::rerun-if-changed=proto/peer.proto");
    tonic_prost_build::configure()
        // tonic's own connections are not used.
        .build_transport(false)
        // Frames and chunks are slices of what was received, not copies of it.
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
