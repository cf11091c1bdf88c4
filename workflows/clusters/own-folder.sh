# Sourced by the scripts beside it: a folder whose content root may trust and run.

# own_folder FOLDER: made where it is missing, with access for others to pass through it and no
# more; refused where it is a link, somebody else's, or writable by others, as what a folder of
# that name in a place open to all may be.
own_folder() {
  local folder=$1
  [ ! -L "$folder" ] || fail "$folder is a link; name a folder"
  mkdir -p -m 711 "$folder"
  [ "$(stat -c %u "$folder")" = "$(id -u)" ] || fail "$folder belongs to $(stat -c %U "$folder"); name another"
  [ -z "$(find "$folder" -maxdepth 0 -perm /022)" ] || fail "$folder can be written by others; chmod 711 it, if all in it is yours"
}

# own_file FILE: refused unless it is a plain file of this user's that nobody else may write.
own_file() {
  [ -f "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ -z "$(find "$1" -perm /022)" ] \
    || fail "$1 is not a file of yours alone; it is not read"
}

# secret FILE: print the password kept in a file, which is made at the first call.
secret() {
  [ -e "$1" ] || [ -L "$1" ] || ( umask 077; openssl rand -hex 16 > "$1" )
  own_file "$1"
  cat "$1"
}
