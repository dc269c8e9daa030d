//! Compiles etcd's protocol. protox reads it, so that no machine needs a protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["rpc.proto"], ["proto"])?;
    println!("cargo::rerun-if-changed=proto");
    tonic_prost_build::configure()
        // tonic's own connections are not used.
        .build_transport(false)
        .codec_path("crate::codec::SmallCodec")
        // Keys and values are slices of what was received, and go out as they are stored.
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
