/* SPDX-License-Identifier: MIT */
/* attach virtual NAME: a reader without hardware; and what both kinds of attach need. */
#pragma once

#include "ctl/place.h"
#include "ctl/verb.h"

/* Makes the reader and prints the name that applications see. An exit code. */
int attach_virtual(const struct arguments *arguments);

/* Does somebody listen for that instance? */
int attach_is_served(const struct place *place, const char *instance);

/* May this be the name of a driver of USB devices: a word that a udev rule can hold? */
int attach_is_driver(const char *word);
