#!/usr/bin/env bash
# Makes an EC2 instance (Amazon Linux 2023, Debian, Ubuntu) run Logtally as a service of its own user. Runs as root,
# as user data or by hand; run again, it updates. The stack's output ProducerUserData has the lines for a web node.
# With --print-configuration it only says what it would configure. Environment:
#
#   ARTIFACT        s3://BUCKET/FOLDER that deploy.sh uploaded
#   STAGES          produce, analyze, deliver, separated by commas
#   INPUT_STREAM OUTPUT_STREAM TABLE LEDGER BUCKET NAMESPACE    as far as the stages need them; else the defaults
#   LOGS            for produce: the pattern of the access logs; no blanks, no pattern in the directory
set -euo pipefail

: "${ARTIFACT:?names the folder that deploy.sh uploaded, s3://BUCKET/FOLDER}" "${STAGES:?names the stages}"
input_stream=${INPUT_STREAM:-logtally-input}
output_stream=${OUTPUT_STREAM:-logtally-output}
table=${TABLE:-logtally-leases}
ledger=${LEDGER:-logtally-ledger}
namespace=${NAMESPACE:-Logtally}
logs=${LOGS:-/var/log/httpd/*access*log}
home=/var/lib/logtally

runs() {
    [[ ,$STAGES, == *,"$1",* ]]
}

# The AWS SDK asks IMDSv2 by itself; the CLI wants to be told the region.
find_region() {
    local token
    token=$(curl -fsS -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
    AWS_DEFAULT_REGION=$(curl -fsS -m 5 -H "X-aws-ec2-metadata-token: $token" \
        http://169.254.169.254/latest/meta-data/placement/region)
    export AWS_DEFAULT_REGION
}

install_program() {
    local fresh
    fresh=$(mktemp -d)
    aws s3 cp --only-show-errors "$ARTIFACT/logtally" "$fresh/logtally"
    aws s3 cp --only-show-errors "$ARTIFACT/logtally.service" "$fresh/logtally.service"
    install -m 755 "$fresh/logtally" /usr/local/bin/logtally
    install -m 644 "$fresh/logtally.service" /etc/systemd/system/logtally.service
    rm -r "$fresh"
}

make_user() {
    # The unit names the group, which some distributions lack.
    getent group adm >/dev/null || groupadd --system adm
    getent passwd logtally >/dev/null ||
        useradd --system --user-group --home-dir "$home" --no-create-home --shell /usr/sbin/nologin logtally
}

# The stages' configuration and nothing else, so that `check` looks only at what this machine may see.
print_configuration() {
    printf 'backend = "aws"\nstages = ["%s"]\n\n[aws]\n' "${STAGES//,/\", \"}"
    printf 'input_stream = "%s"\noutput_stream = "%s"\n' "$input_stream" "$output_stream"
    printf 'table = "%s"\nledger = "%s"\n' "$table" "$ledger"
    [ -z "${BUCKET:-}" ] || printf 'bucket = "%s"\n' "$BUCKET"
    ! runs produce || printf '\n[produce]\nfiles = ["%s"]\ncompression = "zstd"\n' "$logs"
    if runs analyze && [ -n "${BUCKET:-}" ]; then
        printf '\n[analyze]\nreference = "s3://%s/hosts.csv"\n' "$BUCKET"
    fi
    ! runs deliver || printf '\n[deliver]\nnamespace = "%s"\n' "$namespace"
}

configure() {
    install -d -m 755 /etc/logtally
    print_configuration >/etc/logtally/logtally.toml.fresh
    chmod 644 /etc/logtally/logtally.toml.fresh
    mv /etc/logtally/logtally.toml.fresh /etc/logtally/logtally.toml
}

# Reading, for this user alone, what is there and what rotation makes. A default ACL is inherited by files that are
# created in the directory; logrotate's `create 0600` masks it, so that such a line has to become `create 0640`.
grant_logs() {
    local directory=${logs%/*} above=${logs%/*}
    command -v setfacl >/dev/null || dnf -q -y install acl 2>/dev/null || apt-get -q -y install acl
    [ -d "$directory" ] || install -d -m 755 "$directory"
    while [ "$above" != / ]; do
        above=$(dirname "$above")
        # Where others may not pass, this user may.
        [[ $(stat -c %A "$above") == *[xt] ]] || setfacl -m u:logtally:x "$above"
    done
    setfacl -m u:logtally:rx -m d:u:logtally:r "$directory"
    find "$directory" -maxdepth 1 -type f -exec setfacl -m u:logtally:r {} +
}

start() {
    systemctl daemon-reload
    systemctl enable logtally.service
    systemctl restart logtally.service
}

if [ "${1:-}" = --print-configuration ]; then
    print_configuration
    exit
fi
find_region
install_program
make_user
configure
! runs produce || grant_logs
start
