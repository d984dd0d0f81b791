# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with the other parts
# An authority of the set's own, and a certificate of it for 127.0.0.1, as teams have that run their own.

make_certificates() {
    local folder=$set_dir/tls
    mkdir -p "$folder"
    {
        tls_authority "$folder/ca" && tls_authority "$folder/another-ca" &&
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=127.0.0.1 \
                -keyout "$folder/server.key" -out "$folder/server.csr" &&
            openssl x509 -req -in "$folder/server.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 2 \
                -out "$folder/server.pem" -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n')
    } >"$set_dir/log/tls" 2>&1 || fail "openssl: $(last_words "$set_dir/log/tls")"
    # A database that is started by root runs as another user.
    chmod 644 "$folder/server.key"
}

tls_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$(basename "$1") of a test" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$1.key" -out "$1.pem"
}
