#!/bin/bash
# Put the binaries, the systemd unit, man pages and shell completions in place.
# usage: install.sh DIST DESTDIR PREFIX LINKS     (LINKS=1: also the names containerd and ctr, as links)
set -euo pipefail
dist=$1 destdir=$2 prefix=$3 links=$4
bin=$destdir$prefix/bin
here=$(cd "$(dirname "$0")/../.." && pwd)

install -d "$bin" "$destdir$prefix/share/man/man1" "$destdir$prefix/share/man/man8" "$destdir$prefix/lib/systemd/system"
install -m 755 "$dist"/{containerd-rs,containerd-shim-runc-v2,ctr-rs} "$bin/"
sed "s|@BIN@|$prefix/bin|" "$here/docs/containerd-rs.service" >"$destdir$prefix/lib/systemd/system/containerd-rs.service"
"$dist/ctr-rs" man | gzip -9n >"$destdir$prefix/share/man/man1/ctr-rs.1.gz"
"$dist/containerd-rs" man | gzip -9n >"$destdir$prefix/share/man/man8/containerd-rs.8.gz"
for shell in bash zsh fish; do
  case $shell in
    bash) dir=share/bash-completion/completions file=ctr-rs ;;
    zsh) dir=share/zsh/site-functions file=_ctr-rs ;;
    fish) dir=share/fish/vendor_completions.d file=ctr-rs.fish ;;
  esac
  install -d "$destdir$prefix/$dir"
  "$dist/ctr-rs" completion "$shell" >"$destdir$prefix/$dir/$file"
done
if [ "$links" = 1 ]; then
  ln -sfn containerd-rs "$bin/containerd"
  ln -sfn ctr-rs "$bin/ctr"
fi
echo "installed below $destdir$prefix; start with: systemctl enable --now containerd-rs"
