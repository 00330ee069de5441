#!/usr/bin/env bash
# Prints "rustup", or the folder of a toolchain that builds for wasm32-unknown-unknown. Where rustup has no such target and
# cannot fetch it, the standard library is built once from the sources of Debian's own compiler, into WASM_TOOLCHAIN_DIR;
# after that everything is plain cargo. `cargo xtask setup` runs it.
set -euo pipefail
TC=${WASM_TOOLCHAIN_DIR:?}
T=wasm32-unknown-unknown; H=x86_64-unknown-linux-gnu
if rustup target list --installed 2>/dev/null | grep -qx $T; then echo rustup; exit 0; fi
[ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust/library ] || { apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends rustc-web cargo-web rust-web-src lld-22 >&2; }
want=$(/usr/bin/rustc -vV | sha256sum | cut -c1-16)
if [ "$(cat "$TC/stamp" 2>/dev/null)" != "$want" ]; then
  rm -rf "$TC"; W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
  mkdir -p "$W/src" "$TC/bin" "$TC/lib/rustlib/$T/lib" "$TC/lib/rustlib/$H/bin"
  printf '[package]\nname="mkstd"\nversion="0.0.0"\nedition="2021"\n[workspace]\n' > "$W/Cargo.toml"; : > "$W/src/lib.rs"
  (cd "$W" && env -u RUSTUP_TOOLCHAIN RUSTFLAGS=-Cembed-bitcode=yes RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$W/t" \
    /usr/bin/cargo build -q --release --target $T -Zbuild-std=std,panic_abort >&2)
  rm -f "$W/t/$T/release/deps/"libmkstd*
  cp "$W/t/$T/release/deps/"*.rlib "$TC/lib/rustlib/$T/lib/"
  ln -s /usr/lib/rustlib/$H/lib "$TC/lib/rustlib/$H/lib"
  L=$(rustup run stable rustc --print sysroot 2>/dev/null)/lib/rustlib/$H/bin/rust-lld
  [ -x "$L" ] || L=/usr/lib/llvm-22/bin/lld
  ln -s "$L" "$TC/lib/rustlib/$H/bin/rust-lld"
  printf '#!/bin/sh\nexec /usr/bin/rustc --sysroot "%s" "$@"\n' "$TC" > "$TC/bin/rustc"; chmod +x "$TC/bin/rustc"
  ln -s /usr/bin/cargo "$TC/bin/cargo"; echo "$want" > "$TC/stamp"
fi
echo "$TC"
