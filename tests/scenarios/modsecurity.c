/* A stand-in for libmodsecurity 3, so that what a node does with an engine is tested without one: what has "attack" in it is denied,
 * every request looked into leaves a line in a file, and one with "slow" in its target waits at a pipe. A file of rules says where:
 * "count PATH", "gate PATH"; any other first word is a mistake. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*log_cb)(void *, const void *);
typedef struct { log_cb log; } engine;
typedef struct { char count[1024], gate[1024]; } rules;
typedef struct { engine *engine; rules *rules; void *data; int denied, rehearsed; char line[4096]; } transaction;
typedef struct { int status, pause; char *url, *log; int disruptive; } intervention;

engine *msc_init(void) { return calloc(1, sizeof(engine)); }
void msc_set_connector_info(engine *e, const char *who) { (void)e, (void)who; }
void msc_set_log_cb(engine *e, log_cb log) { e->log = log; }
void msc_cleanup(engine *e) { free(e); }
rules *msc_create_rules_set(void) { return calloc(1, sizeof(rules)); }
int msc_rules_cleanup(rules *r) { free(r); return 0; }
int msc_rules_add(rules *r, const char *text, const char **error) { (void)r, (void)text, (void)error; return 1; }

int msc_rules_add_file(rules *r, const char *path, const char **error) {
  char word[16], value[1000];
  int added = 0;
  FILE *file = fopen(path, "r");
  if (!file) { *error = "cannot open it"; return -1; }
  while (fscanf(file, "%15s %999s", word, value) == 2) {
    if (!strcmp(word, "count")) strcpy(r->count, value);
    else if (!strcmp(word, "gate")) strcpy(r->gate, value);
    else { *error = "line 1: nobody knows this word"; fclose(file); return -1; }
    added++;
  }
  fclose(file);
  return added;
}

static void look(transaction *t, const void *text, size_t length) {
  if (memmem(text, length, "attack", 6)) {
    if (!t->denied) t->engine->log(t->data, "Warning. Matched. [file \"x\"] [id \"942100\"] [msg \"an attack\"]");
    t->denied = 1;
  }
}

transaction *msc_new_transaction(engine *e, rules *r, void *data) {
  transaction *t = calloc(1, sizeof(transaction));
  t->engine = e, t->rules = r, t->data = data;
  return t;
}

int msc_process_connection(transaction *t, const char *client, int port, const char *server, int server_port) {
  (void)port, (void)server, (void)server_port;
  t->rehearsed = t->denied = !strcmp(client, "rehearsal");
  return 1;
}

int msc_process_uri(transaction *t, const char *uri, const char *method, const char *version) {
  snprintf(t->line, sizeof t->line, "%s %s %s", method, uri, version);
  look(t, uri, strlen(uri));
  if (strstr(uri, "slow")) {
    char byte;
    int gate = open(t->rules->gate, O_RDONLY);
    while (read(gate, &byte, 1) > 0) {}
    close(gate);
  }
  return 1;
}

int msc_add_n_request_header(transaction *t, const char *name, size_t name_length, const char *value, size_t length) {
  (void)name, (void)name_length;
  look(t, value, length);
  return 1;
}

int msc_process_request_headers(transaction *t) { (void)t; return 1; }
int msc_append_request_body(transaction *t, const char *piece, size_t length) { look(t, piece, length); return 1; }
int msc_process_request_body(transaction *t) { (void)t; return 1; }
int msc_process_logging(transaction *t) { (void)t; return 1; }

int msc_intervention(transaction *t, intervention *said) {
  if (!t->denied) return 0;
  said->status = 403, said->log = strdup("denied"), said->disruptive = 1;
  return 1;
}

void msc_transaction_cleanup(transaction *t) {
  FILE *file = t->rehearsed ? NULL : fopen(t->rules->count, "a");
  if (file) fprintf(file, "%s\n", t->line), fclose(file);
  free(t);
}
